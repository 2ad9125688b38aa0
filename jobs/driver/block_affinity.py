"""What commits tell a driver that resumes: hosts of blocks, devices of `any`, paces of hosts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

import storage
from jobs.driver.pace import Shown, sort_of_cell
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
    rows: Iterable[storage.CellRow] = (),
) -> dict[str, str]:
    """The devices that `any` and `cuda` were resolved to, according to the commits.

    Args:
        queued: the cells.
        entries: the commits.
        nodes: a node that has several devices has the first that committed.
        rows: the cells as saved; one that has run says on which device.
    """
    devices = {node.node: node.device for node in nodes}
    of_cell = {row.cell_id: row.device for row in rows if row.node is not None}
    asked = {cell.cell_id: block.device for block in queued for cell in block.cells}
    return {
        name: device
        for entry in entries
        if (name := asked.get(entry.cell_id)) in (ANY, CUDA) and name
        if (device := of_cell.get(entry.cell_id) or devices.get(entry.node or ""))
    }


def shown_paces(
    queued: Iterable[CellBlock], entries: Iterable[storage.CommitEntry]
) -> Iterator[Shown]:
    """What each host took for the images that it has completed, oldest first."""
    sorts = {cell.cell_id: sort_of_cell(cell) for block in queued for cell in block.cells}
    for entry in entries:
        sort = sorts.get(entry.cell_id)
        if sort and entry.node and entry.busy_s:
            yield Shown(entry.node, sort, entry.rows, entry.busy_s)
