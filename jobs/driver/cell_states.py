"""Cell states: the state of each cell of a run, as its row in `cells`."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime

import storage
from jobs.common.clock import now
from jobs.driver.looks import RoundsEnd, describe_end
from jobs.machine.devices import ANY, CPU, CUDA
from jobs.plan.cell import PROTOCOL_VERSION, Cell
from jobs.plan.plan import Plan
from jobs.plan.task import Outcome, Task
from jobs.plan.unsupported import REFERENCE

VALID_ROUNDS = 2
"""Rounds that are not throttled, for a cell to be valid; one if the grid asked for one.

A cell with images whose logits are not finite is not valid either. Only this module decides that,
when a cell ends: queries use its `is_valid`."""


def queued_rows(plan: Plan, run_id: str) -> list[storage.CellRow]:
    """The rows of a plan before anything has run; cells that it skips are skipped already."""
    return [_queued(cell, run_id, position) for position, cell in enumerate(plan.cells)]


def _queued(cell: Cell, run_id: str, position: int) -> storage.CellRow:
    config = cell.model.config
    row = storage.CellRow(
        run_id=run_id,
        cell_id=cell.cell_id,
        position=position,
        kind=cell.kind,
        model=cell.model.name,
        checkpoint_sha256=cell.model.sha256,
        params=config.parameters(),
        depth=config.depth,
        exit_blocks=config.exit_blocks,
        dataset=cell.dataset.label,
        dataset_sha256=cell.dataset.images.sha256,
        device=cell.setting.device,
        runtime=cell.setting.runtime,
        precision=cell.setting.precision,
        threads=cell.setting.threads,
        batch_size=cell.batch_size,
        threshold=cell.threshold,
        thresholds=cell.thresholds or None,
        images=cell.images,
        warmup_images=cell.warmup_images or None,
        status="skipped" if cell.skipped else "queued",
        note=cell.skipped,
        protocol=PROTOCOL_VERSION,
        num_classes=config.num_classes,
        exit_rule=cell.model.exit_rule if cell.model.gates else None,
        borrowed_from=cell.borrowed_from,
    )
    return _with_until(_with_costs(_with_arrivals(_with_calibration(row, cell), cell), cell), cell)


def _with_until(row: storage.CellRow, cell: Cell) -> storage.CellRow:
    """A row with what ends its rounds; its cell may have ended, and then has fewer."""
    until = cell.until
    return replace(
        row,
        rounds=cell.rounds,
        until_pct=until.pct if until else None,
        until_of=until.of if until else None,
        max_rounds=until.most if until else None,
        reached_pct=None,
    )


def _with_calibration(row: storage.CellRow, cell: Cell) -> storage.CellRow:
    """A row with the images that its graphs are made from, if there are any."""
    used = cell.calibration
    if used is None:
        return row
    return replace(
        row,
        calibration_dataset=f"{used.images.name}/{used.images.split}",
        calibration_sha256=used.images.sha256,
        calibration_images=used.count,
    )


def _with_arrivals(row: storage.CellRow, cell: Cell) -> storage.CellRow:
    """A row with how requests arrive, if it is served."""
    asked = cell.arrivals
    if asked is None:
        return row
    return replace(
        row, arrivals_per_s=asked.per_s, arrivals_s=asked.seconds, arrivals_seed=asked.seed
    )


def _with_costs(row: storage.CellRow, cell: Cell) -> storage.CellRow:
    """A row with the size of its model, and with what an image costs up to each exit."""
    costs = cell.model.exit_costs
    is_eager = (cell.setting.runtime, cell.setting.precision) == REFERENCE
    return replace(
        row,
        checkpoint_bytes=cell.model.size_bytes,
        exit_params=tuple(cost.params for cost in costs),
        exit_multiply_adds=tuple(cost.multiply_adds for cost in costs),
        exit_executed_multiply_adds=tuple(
            cost.multiply_adds if is_eager else cost.matrix_multiply_adds for cost in costs
        ),
    )


def _renewed(row: storage.CellRow, cell: Cell) -> storage.CellRow:
    """A stored row when its run resumes; the caller adds what is committed afterwards."""
    renewed = replace(
        row,
        status="skipped" if cell.skipped else "queued",
        note=cell.skipped or row.note,
        rows=0,
        is_valid=None,
        error=None,
        num_classes=cell.model.config.num_classes,  # earlier versions did not save it
    )
    renewed = _with_costs(renewed, cell)  # nor these
    return _with_until(renewed, cell)  # the grid may have grown since


class CellStates:
    """Keeps the row of every cell up to date during a run.

    Args:
        plan: the cells.
        rows: their rows as stored; a cell that failed or was interrupted is queued again. Rows of
            cells that the plan no longer has stay as they are.
        entries: the commits so far.
        nodes: the machines that the entries name.
        throttled: throttled rounds among the committed ones, as (cell_id, round).
        unanswered: number of images of each round whose logits are not finite.
    """

    def __init__(
        self,
        plan: Plan,
        rows: Sequence[storage.CellRow],
        entries: Iterable[storage.CommitEntry],
        nodes: Iterable[storage.NodeRow] = (),
        *,
        throttled: Iterable[tuple[str, int]] = (),
        unanswered: Mapping[tuple[str, int], int] | None = None,
    ) -> None:
        self._cells = {cell.cell_id: cell for cell in plan.cells}
        self._missing = {cell_id: self._asked_tasks(cell_id) for cell_id in self._cells}
        self._asked = {i: cell.setting.device for i, cell in self._cells.items()}
        self._bound: set[str] = set()
        self._ran_on: dict[str, set[str]] = {}
        self._throttled: dict[str, set[int]] = {}
        for cell_id, number in throttled:
            self._throttled.setdefault(cell_id, set()).add(number)
        self._unanswered: dict[str, Counter[int]] = {}
        self._count_unanswered(unanswered or {})
        self._late = {
            cell_id: f"timed after the rest of its run: added {added_at} UTC"
            for cell_id, added_at in plan.late_cells.items()
        }
        self._notes: dict[str, set[str]] = {cell_id: set() for cell_id in self._cells}
        self._left = [row for row in rows if row.cell_id not in self._cells]
        self._rows = {
            row.cell_id: _renewed(row, self._cells[row.cell_id])
            for row in rows
            if row.cell_id in self._cells
        }
        devices = {node.node: node.device for node in nodes}
        for entry in entries:
            if entry.cell_id not in self._cells:
                continue
            if entry.node in devices:
                # The state of a cell may not have been saved after its last commit.
                device = self._device_of(entry.cell_id, devices[entry.node])
                self._run_on(entry.cell_id, entry.node, device)
            self._commit(entry.cell_id, entry.node, entry.rows, entry.note)
        for cell_id, row in self._rows.items():
            if not self._missing[cell_id]:
                self._finish(cell_id, row.finished_at)

    @property
    def rows(self) -> list[storage.CellRow]:
        """All rows in the order of the plan; then those of cells that it no longer has."""
        return [*self._rows.values(), *self._left]

    def is_over(self, cell_id: str) -> bool:
        """Whether nothing more will run for a cell."""
        return self._rows[cell_id].status in ("done", "failed", "skipped")

    def has_run_on(self, node: str, cell_ids: Iterable[str]) -> bool:
        """Whether a node has committed rows of some cells."""
        return any(node in self._ran_on.get(cell_id, ()) for cell_id in cell_ids)

    def committed(self, cell_ids: Iterable[str]) -> int:
        """The number of committed tasks of some cells."""
        return sum(self._asked_tasks(cell_id) - self._missing[cell_id] for cell_id in cell_ids)

    def start(self, task: Task) -> None:
        """Record that a task is given out."""
        row = self._rows[task.cell_id]
        self._rows[task.cell_id] = replace(
            row,
            status="running",
            attempts=max(row.attempts, 1),
            started_at=row.started_at or now(),
        )

    def retry(self, task: Task) -> None:
        """Record that a task was lost and is given out again."""
        row = self._rows[task.cell_id]
        self._rows[task.cell_id] = replace(row, attempts=row.attempts + 1)

    def commit(self, task: Task, outcome: Outcome) -> None:
        """Record that a task's rows are committed."""
        node = outcome.node
        if node is not None:
            self._run_on(task.cell_id, node.node, node.device)
        rounds = outcome.tables.get("rounds")
        if rounds is not None and True in rounds.column("is_throttled").to_pylist():
            self._throttled.setdefault(task.cell_id, set()).add(task.round)
        for name in storage.ANSWERS:
            if name in outcome.tables:
                self._count_unanswered(storage.unanswered(outcome.tables[name]))
        self._commit(task.cell_id, node.node if node else None, outcome.images, outcome.noted)
        if not self._missing[task.cell_id]:
            self._finish(task.cell_id, now())

    def _count_unanswered(self, found: Mapping[tuple[str, int], int]) -> None:
        for (cell_id, number), images in found.items():
            self._unanswered.setdefault(cell_id, Counter())[number] += images

    def end_rounds(self, end: RoundsEnd) -> dict[str, list[int]]:
        """Record that the cells of a group get no more rounds.

        Returns: the tasks that are not needed, by cell the images of each.
        """
        dropped = {}
        for cell in end.cells:
            row = self._rows[cell.cell_id]
            if cell.until is None or row.status in ("failed", "skipped"):
                continue
            pct = end.reached_pct.get(cell.cell_id)
            remark = None if pct is None else describe_end(cell.until, end.rounds, pct)
            fewer = (row.rounds or 0) - end.rounds
            self._missing[cell.cell_id] -= fewer * len(cell.shards)
            dropped[cell.cell_id] = [each.stop - each.start for each in cell.shards] * fewer
            self._rows[cell.cell_id] = replace(row, rounds=end.rounds)
            if row.status != "done" and not self._missing[cell.cell_id]:
                self._finish(cell.cell_id, row.finished_at or now())
            row = self._rows[cell.cell_id]
            self._rows[cell.cell_id] = replace(
                row,
                reached_pct=pct if pct is not None and math.isfinite(pct) else None,
                note="; ".join(filter(None, (row.note, remark))) or None,
            )
        return dropped

    def restart(self, cell_ids: Collection[str]) -> None:
        """Record that committed rows of cells are dropped, and that the cells start again."""
        for cell_id in cell_ids:
            cell, row = self._cells[cell_id], self._rows[cell_id]
            self._throttled.pop(cell_id, None)
            self._unanswered.pop(cell_id, None)
            self._ran_on.pop(cell_id, None)
            self._missing[cell_id] = self._asked_tasks(cell_id)
            self._notes[cell_id].clear()
            renewed = _renewed(row, cell)
            self._rows[cell_id] = replace(
                renewed, node=None, note=cell.skipped, attempts=row.attempts + 1
            )

    def fail(self, cell_id: str, error: str) -> None:
        """Record that a cell failed; its committed rows stay."""
        self._rows[cell_id] = replace(
            self._rows[cell_id],
            status="failed",
            error=error,
            is_valid=False,
            finished_at=now(),
        )

    def skip(self, task: Task, reason: str) -> None:
        """Skip the cell of a task that its host cannot run at all, with the reason."""
        self._rows[task.cell_id] = replace(
            self._rows[task.cell_id], status="skipped", note=reason, finished_at=now()
        )

    def _device_of(self, cell_id: str, of_node: str | None) -> str | None:
        """The device that a cell ran on; that of its node may be another of several that it has."""
        row, asked = self._rows[cell_id], self._asked[cell_id]
        if row.node is not None:
            return row.device
        is_resolved_there = asked == ANY or (asked == CUDA and of_node != CPU)
        return of_node if is_resolved_there else asked

    def _run_on(self, cell_id: str, node: str, device: str | None) -> None:
        """Note where a cell ran, and the resolved device for all cells that asked for the same."""
        row = self._rows[cell_id]
        self._rows[cell_id] = replace(row, node=node, device=device, attempts=max(row.attempts, 1))
        asked = self._asked[cell_id]
        if asked in self._bound:
            return
        self._bound.add(asked)
        for other, row in self._rows.items():
            if self._asked[other] == asked and row.node is None:
                self._rows[other] = replace(row, device=device)
            if self._cells[other].borrowed_from == asked:
                self._rows[other] = replace(self._rows[other], borrowed_from=device)

    def _asked_tasks(self, cell_id: str) -> int:
        cell = self._cells[cell_id]
        return cell.rounds * len(cell.shards)

    def _commit(self, cell_id: str, node: str | None, images: int, note: str | None) -> None:
        row = self._rows[cell_id]
        cell = self._cells[cell_id]
        an_image = storage.rows_per_image(cell.kind, cell.model.gates)
        self._missing[cell_id] -= 1
        if node:
            self._ran_on.setdefault(cell_id, set()).add(node)
        if note:
            self._notes[cell_id].update(note.split("; "))
        late = [self._late[cell_id]] if cell_id in self._late else []
        known = [cell.remark.replace("; ", ", ")] if cell.remark else []
        joined = "; ".join([*late, *known, *sorted(self._notes[cell_id])]) or None
        self._rows[cell_id] = replace(row, rows=row.rows + images * an_image, note=joined)

    def _finish(self, cell_id: str, finished_at: datetime | None) -> None:
        row = self._rows[cell_id]
        if not row.rows:
            error = f"none of the {row.images} images could be evaluated"
            self._rows[cell_id] = replace(
                row, status="failed", error=error, is_valid=False, finished_at=finished_at
            )
            return
        needed = min(VALID_ROUNDS, row.rounds or 1) if self._cells[cell_id].is_timed else 1
        spoilt = len(self._throttled.get(cell_id, ()))
        broken = max(self._unanswered.get(cell_id, Counter()).values(), default=0)
        is_valid = (row.rounds or 0) - spoilt >= needed and not broken
        remarks = (
            f"throttled: {spoilt} of {row.rounds} rounds" if spoilt else None,
            _not_finite(broken, row.images or 0) if broken else None,
        )
        self._rows[cell_id] = replace(
            row,
            status="done",
            is_valid=is_valid,
            note="; ".join(filter(None, (row.note, *remarks))) or None,
            finished_at=finished_at,
        )


def _not_finite(broken: int, images: int) -> str:
    """Why a cell is not valid; every round has the same images, so the largest number counts."""
    verb = "has" if broken == 1 else "have"
    return f"{broken} of {images} images {verb} logits that are not finite"
