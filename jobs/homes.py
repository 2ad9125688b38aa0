"""What is committed says of machines: where blocks have begun, and what `any` and `cuda` were."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

import storage
from jobs.device import ANY, CUDA
from jobs.order import Block


def home_of(block: Block, entries: Iterable[storage.CommitEntry]) -> str | None:
    """The machine that has begun a block which one machine must take whole; None of others."""
    cells = {cell.cell_id for cell in block.cells} if block.is_timed else set()
    found = Counter(entry.node for entry in entries if entry.cell_id in cells and entry.node)
    return found.most_common(1)[0][0] if found else None


def meant_devices(
    queued: Sequence[Block],
    entries: Iterable[storage.CommitEntry],
    nodes: Iterable[storage.NodeRow],
) -> dict[str, str]:
    """What `any` and `cuda` turned out to be, by what is committed."""
    devices = {node.node: node.device for node in nodes}
    asked = {cell.cell_id: block.device for block in queued for cell in block.cells}
    return {
        name: device
        for entry in entries
        if (name := asked.get(entry.cell_id)) in (ANY, CUDA) and name
        if (device := devices.get(entry.node or ""))
    }
