"""Reads the nights before a night from a results root, and selects comparable ones per cell."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby

import storage
from jobs.analysis.comparison.comparable import PLACE, explain_no_times, make_identity
from jobs.analysis.regressions.detector import RECENT
from jobs.analysis.regressions.latency import Nights, Pair
from jobs.analysis.regressions.settings import Settings
from jobs.common.errors import UsageError
from jobs.common.formatting import Row

_SHOWN = 3
UNITS = {"latency": "forward_ms", "energy": "energy_mj"}
"""The column of `measured` that each metric is judged by."""


class MeasuredNight:
    """The measured cells of one run."""

    def __init__(self, run_id: str, rows: Iterable[Row]) -> None:
        self.run_id = run_id
        self.rows = list(rows)
        self._by_identity = {make_identity(row): row for row in self.rows}

    def same(self, row: Row) -> Row | None:
        """Return this night's row of the cell in a row of another night, if any."""
        return self._by_identity.get(make_identity(row))

    def control(self, row: Row, name: str | None) -> Row | None:
        """Return the timed cell of the control with the same setting as a cell, if any."""
        place = make_identity(row, PLACE)
        for other in self.rows:
            is_it = other["model"] == name and make_identity(other, PLACE) == place
            if is_it and other["forward_ms"] is not None and other["is_valid"] is not False:
                return other
        return None


@dataclass(frozen=True)
class NightHistory:
    """A night and those before it, oldest first; `told` is the result of `find_told`."""

    earlier: Sequence[MeasuredNight]
    tonight: MeasuredNight
    settings: Settings
    told: Mapping[tuple[object, ...], Sequence[Row]]

    @classmethod
    def read(cls, root: storage.Root, run_id: str, settings: Settings) -> NightHistory:
        """Read a run and the earlier runs of the same name.

        Raises:
            UsageError: the run has nothing to judge, the pinned baseline is not one of these runs,
                or none of them has the control.
        """
        rows = storage.named_query(root, "nights", run_id=run_id).to_pylist()
        nights = [
            MeasuredNight(night, group)
            for night, group in groupby(rows, key=lambda row: row["run_id"])
        ]
        by_id = {night.run_id: night for night in nights}
        if run_id not in by_id:
            raise UsageError(f"run {run_id} has no accuracy and no latency yet: nothing to judge")
        earlier = [night for night in nights if night.run_id != run_id]
        pinned = settings.baseline
        if pinned is not None and pinned not in by_id:
            known = ", ".join(night.run_id for night in earlier[:_SHOWN]) or "none"
            raise UsageError(
                f"baseline {pinned} is not a finished run of the same name before {run_id};"
                f" available: {known}" + (", ..." if len(earlier) > _SHOWN else "")
            )
        models = sorted({str(row["model"]) for night in nights for row in night.rows})
        if settings.control is not None and settings.control not in models:
            raise UsageError(
                f"control {settings.control} is not a model of run {run_id} or a night before it;"
                f" available: {', '.join(models)}"
            )
        return cls(earlier, by_id[run_id], settings, find_told(root, run_id))

    @cached_property
    def since_baseline(self) -> Sequence[MeasuredNight]:
        """The earlier nights from the pinned baseline on; all of them without a pin."""
        ids = [night.run_id for night in self.earlier]
        if self.settings.baseline in ids:
            return self.earlier[ids.index(self.settings.baseline) :]
        return self.earlier

    def pair(self, night: MeasuredNight, row: Row, metric: storage.Metric) -> Pair | None:
        """Return the figures of a cell and its control in one night; None if there is none."""
        value = row[UNITS[metric]]
        if not _is_positive(value):
            return None
        control = self._control(night, row)
        figure = control[UNITS[metric]] if control else None
        return Pair(value, figure if _is_positive(figure) else None)

    def comparable(self, row: Row, metric: storage.Metric) -> Nights:
        """Return the comparable earlier nights of one of tonight's cells.

        Nights without the control count only if tonight has none either; a control with other
        weights does not count as one.
        """
        tonight = self.pair(self.tonight, row, metric)
        is_controlled = tonight is not None and tonight.control is not None
        told = self.told.get((*make_identity(row), metric), ())
        regressions = {before["run_id"] for before in told if before["verdict"] == "regression"}
        found: dict[str, Pair] = {}
        for night in self.earlier:
            then = night.same(row)
            if then is None or explain_no_times(then, row):
                continue
            pair = self.pair(night, then, metric)
            if pair and (not is_controlled or self._is_controlled_alike(night, row, pair)):
                found[night.run_id] = pair._replace(is_told=night.run_id in regressions)
        pinned = [found[n.run_id] for n in self.since_baseline if n.run_id in found]
        pairs, window = list(found.values()), self.settings.window
        return Nights(
            pairs[-window:],
            pinned[: max(min(RECENT, len(pinned) - RECENT + 1), 0)],
            is_controlled,
            pairs[-2 * window : -window],
        )

    def _is_controlled_alike(self, night: MeasuredNight, row: Row, pair: Pair) -> bool:
        ours, its = self._control(self.tonight, row), self._control(night, row)
        return (
            pair.control is not None
            and ours is not None
            and its is not None
            and ours["checkpoint_sha256"] == its["checkpoint_sha256"]
            and make_identity(ours) == make_identity(its)
        )

    def _control(self, night: MeasuredNight, row: Row) -> Row | None:
        """Return the control's row; None for the control itself, which is judged as measured."""
        name = self.settings.control
        return None if name is None or row["model"] == name else night.control(row, name)


def find_told(root: storage.Root, run_id: str) -> Mapping[tuple[object, ...], Sequence[Row]]:
    """Return what was reported of earlier nights, by cell and metric, oldest first."""
    told: dict[tuple[object, ...], list[Row]] = {}
    for row in storage.named_query(root, "told", run_id=run_id).to_pylist():
        told.setdefault((*make_identity(row), row["metric"]), []).append(row)
    return told


def _is_positive(value: float | None) -> bool:
    return value is not None and value > 0
