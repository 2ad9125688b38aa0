"""The registration of a node: the names of its machine, as its workers inherit them.

`gfjobs node start` puts it into the environment of Ray; the worker processes of the node find it
there. In a process that no registered node started there is none.
"""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cache

VARIABLE = "GFJOBS_NODE"


@dataclass(frozen=True)
class Registration:
    """What a node has said about itself.

    Attributes:
        name: of the node; rows have it as `node`.
        kind: what torch calls its devices: `cpu` or `cuda`.
        devices: slug to the numbers of such devices, as torch counts them.
        accelerator: the hardware's own name; None where there is only a processor.
    """

    name: str
    kind: str
    devices: Mapping[str, tuple[int, ...]]
    accelerator: str | None = None

    def text(self) -> str:
        """For the environment."""
        return json.dumps(asdict(self))

    @classmethod
    def read(cls, text: str) -> Registration:
        """The inverse of `text`."""
        fields = json.loads(text)
        devices = {slug: tuple(numbers) for slug, numbers in fields.pop("devices").items()}
        return cls(devices=devices, **fields)


@cache
def read_registration() -> Registration | None:
    """The one of the node that started this process; None where no node did."""
    text = os.environ.get(VARIABLE)
    return Registration.read(text) if text else None


def node_name() -> str:
    """What rows call this machine: as it is registered, else its host name."""
    registered = read_registration()
    return registered.name if registered else platform.node()
