"""The registration of a node: the names of its machine and devices, inherited by its workers.

`gfjobs node start` puts it into the environment of Ray, where the node's worker processes find it.
A process that was not started by a registered node has none.
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
    """The name and devices under which a node is registered.

    Attributes:
        name: of the node; `node` in rows.
        kind: torch's name for its devices: `cpu` or `cuda`.
        devices: slug to the indices of such devices, as torch numbers them.
        accelerator: the hardware's own name; None if there is only a processor.
    """

    name: str
    kind: str
    devices: Mapping[str, tuple[int, ...]]
    accelerator: str | None = None

    def text(self) -> str:
        """Return it as JSON, for the environment."""
        return json.dumps(asdict(self))

    @classmethod
    def read(cls, text: str) -> Registration:
        """Parse what `text` returned."""
        fields = json.loads(text)
        devices = {slug: tuple(numbers) for slug, numbers in fields.pop("devices").items()}
        return cls(devices=devices, **fields)


@cache
def read_registration() -> Registration | None:
    """Return the registration of the node that started this process; None if no node did."""
    text = os.environ.get(VARIABLE)
    return Registration.read(text) if text else None


def node_name() -> str:
    """Return this machine's name in rows: the registered one, else its host name."""
    registered = read_registration()
    return registered.name if registered else platform.node()
