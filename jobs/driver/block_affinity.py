"""Block affinity: the host of each block, and the devices of `any` and `cuda`, from commits."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

import storage
from jobs.machine.devices import ANY, CUDA
from jobs.plan.order import CellBlock


def find_affinities(
    queued: Iterable[CellBlock], entries: Iterable[storage.CommitEntry]
) -> dict[CellBlock, str]:
    """The host of each timed block that has committed tasks: one host must take it whole."""
    block_of = {cell.cell_id: block for block in queued if block.is_timed for cell in block.cells}
    found: dict[CellBlock, Counter[str]] = {}
    for entry in entries:
        if entry.node and (block := block_of.get(entry.cell_id)):
            found.setdefault(block, Counter())[entry.node] += 1
    return {block: nodes.most_common(1)[0][0] for block, nodes in found.items()}


def resolved_devices(
    queued: Sequence[CellBlock],
    entries: Iterable[storage.CommitEntry],
    nodes: Iterable[storage.NodeRow],
) -> dict[str, str]:
    """The devices that `any` and `cuda` were resolved to, according to the commits."""
    devices = {node.node: node.device for node in nodes}
    asked = {cell.cell_id: block.device for block in queued for cell in block.cells}
    return {
        name: device
        for entry in entries
        if (name := asked.get(entry.cell_id)) in (ANY, CUDA) and name
        if (device := devices.get(entry.node or ""))
    }
