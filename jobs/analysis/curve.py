"""The trade-off curve of a run: accuracy against cost at every threshold."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby

import storage
from jobs.common.errors import UsageError
from jobs.common.formatting import (
    SETTING,
    Row,
    format_setting,
)

DRAWN_POINTS = 400
"""Points drawn per model: more than a terminal or a figure can resolve."""

LISTED_POINTS = 9
"""Points listed per model in a table."""


@dataclass(frozen=True)
class Curves:
    """The curves of one setting: comparable models on one pair of axes.

    Attributes:
        title: data set, device, runtime.
        cost: `forward_ms`, or `mean_blocks` if no model has milliseconds.
        models: operating points by model, the most expensive first; a static model has one.
        untimed: likewise the models that have no milliseconds, if others have.
        notes: by model, why milliseconds are missing, or reasons to doubt them.
        routed: the thresholds that were actually routed, with the latency composed for each.
        energies: the same with the energy; empty if it was not measured by exit. A row has no
            composed_mj if the measurement gave no energy; its note says why.
    """

    title: str
    cost: str
    models: dict[str, list[Row]]
    untimed: dict[str, list[Row]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    routed: tuple[Row, ...] = ()
    energies: tuple[Row, ...] = ()

    @property
    def cost_label(self) -> str:
        """The axis label of `cost`."""
        return "forward latency, ms" if self.cost == "forward_ms" else "mean blocks"


def read_curves(root: storage.Root, run_id: str) -> list[Curves]:
    """Return the exact frontier of each setting of a run.

    Raises:
        UsageError: the run has no all-exit pass.
    """
    with storage.one_moment():
        rows = storage.named_query(
            root,
            "curve",
            run_ids=[run_id],
            run_id=run_id,
            most=DRAWN_POINTS,
            undominated=LISTED_POINTS,
        ).to_pylist()
        if not rows:
            raise UsageError(
                f"run {run_id} has no rows of an all-exit pass; `measure: [accuracy]` makes them"
            )
        routed, energies = (
            _by_setting(
                storage.named_query(root, name, run_ids=[run_id], run_id=run_id).to_pylist()
            )
            for name in ("composed_beside_routed", "energies_beside_routed")
        )
    return [
        replace(
            make_curves(list(group)),
            routed=tuple(routed.get(setting, ())),
            energies=tuple(energies.get(setting, ())),
        )
        for setting, group in groupby(rows, key=_setting)
    ]


def _by_setting(rows: Sequence[Row]) -> dict[tuple[object, ...], list[Row]]:
    found: dict[tuple[object, ...], list[Row]] = {}
    for row in rows:
        found.setdefault(_setting(row), []).append(row)
    return found


def _setting(row: Row) -> tuple[object, ...]:
    return tuple(row[key] for key in SETTING)


def make_curves(rows: Sequence[Row]) -> Curves:
    """Build the curves of one setting from its rows of `curve`, in the best available cost unit.

    Milliseconds, if a model with gates has them (or any model, if none has gates), else blocks.
    A model without an accuracy, such as one whose logits are not finite, has no curve.
    """
    early = [row for row in rows if row["threshold"] is not None]
    is_timed = any(row["forward_ms"] is not None for row in early or rows)
    cost = "forward_ms" if is_timed else "mean_blocks"
    models: dict[str, list[Row]] = {}
    untimed: dict[str, list[Row]] = {}
    for row in rows:
        if row["acc1"] is None:
            continue
        # In blocks a static model is left out: blocks of different widths are not comparable.
        if is_timed or not early or row["threshold"] is not None:
            known = models if row[cost] is not None else untimed
            known.setdefault(row["model"], []).append(row)
    said = {(row["model"], row["forward_ms_note"]) for row in rows if row["forward_ms_note"]}
    said |= {
        (row["model"], "no accuracy: see its all-exit pass in `gfjobs status`")
        for row in rows
        if row["acc1"] is None
    }
    notes = tuple(f"{model}: {note}" for model, note in sorted(said))
    return Curves(format_setting(rows[0]), cost, models, untimed, notes)


def explain_borrowed(points: Sequence[Row]) -> Iterator[str]:
    """Yield what the bounds of points of a curve mean, once for each lender."""
    for lender in dict.fromkeys(filter(None, (row.get("accuracy_from") for row in points))):
        yield (
            f"frontier: accuracy and blocks are borrowed from {lender}; ±: the device's own are"
            " within this at all points at once, in 95 % of samples"
        )


def select_undominated(points: Sequence[Row]) -> list[Row]:
    """Return the points that no other point dominates."""
    return [row for row in points if not row["is_dominated"]]


def thin_out(points: Sequence[Row], most: int = LISTED_POINTS) -> Iterator[Row]:
    """Yield at most `most` evenly spaced points, including the first and the last."""
    steps = min(len(points), most)
    for step in range(steps):
        yield points[round(step * (len(points) - 1) / max(steps - 1, 1))]
