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

from jobs.common.errors import UsageError

VARIABLE = "GFJOBS_NODE"
_SHOWN = 80


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
        """Parse what `text` returned.

        Raises:
            UsageError: `text` did not return it.
        """
        try:
            fields = json.loads(text)
            devices = {slug: tuple(numbers) for slug, numbers in fields.pop("devices").items()}
            found = cls(devices=devices, **fields)
            if found._is_possible():
                return found
        except (ValueError, TypeError, AttributeError, LookupError, RecursionError):
            pass  # said below
        shown = text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
        raise UsageError(
            f"${VARIABLE} is {shown!r}, which is no registration of a node: `gfjobs node start`"
            " alone sets it, for what runs on that node; unset it here"
        )

    def _is_possible(self) -> bool:
        """Whether a node can have it: JSON has no types."""
        numbers = [number for each in self.devices.values() for number in each]
        return (
            isinstance(self.name, str)
            and self.kind in ("cpu", "cuda")
            and (self.accelerator is None or isinstance(self.accelerator, str))
            and all(type(number) is int and number >= 0 for number in numbers)
            and bool(numbers)
        )


@cache
def read_registration() -> Registration | None:
    """Return the registration of the node that started this process; None if no node did."""
    text = os.environ.get(VARIABLE)
    return Registration.read(text) if text else None


def node_name() -> str:
    """Return this machine's name in rows: the registered one, else its host name."""
    registered = read_registration()
    return registered.name if registered else platform.node()
