"""The labels of a node: facts about it that any client can read from the head."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields

PREFIX = "gfjobs.io/"
_VALUE_LENGTH = 63


@dataclass(frozen=True)
class Facts:
    """Facts about a node; all None if it was not started by `gfjobs node start`.

    Attributes:
        device: slug of its devices; the first if there are several kinds.
        node: its name.
        gfjobs, python, ray, torch: versions.
        accelerator: the hardware's own name, with underscores for blanks.
        memory_mib: of the machine.
        l4t: release of a Jetson's Linux.
        power: its power source, such as `ina3221`.
    """

    device: str | None = None
    node: str | None = None
    gfjobs: str | None = None
    python: str | None = None
    ray: str | None = None
    torch: str | None = None
    accelerator: str | None = None
    memory_mib: str | None = None
    l4t: str | None = None
    power: str | None = None

    def labels(self) -> dict[str, str]:
        """Return them as labels for Ray, which allows letters, digits, '-', '_' and '.'."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {_key(name): _allowed(value) for name, value in values.items() if value}

    @classmethod
    def read(cls, labels: Mapping[str, str]) -> Facts:
        """Read the facts from labels; labels of other software are ignored."""
        return cls(**{field.name: labels.get(_key(field.name)) for field in fields(cls)})


def _key(field: str) -> str:
    return PREFIX + field.replace("_", "-")


def _allowed(value: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "_", value)[:_VALUE_LENGTH].strip("._-")
