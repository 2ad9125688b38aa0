"""The trade-off curve of a run: accuracy against cost at every threshold."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

import storage
from jobs.common.errors import UsageError
from jobs.common.formatting import (
    SETTING,
    Row,
    format_setting,
)

DRAWN_POINTS = 400
"""Of each model: more than a terminal or a figure has pixels to tell apart."""

LISTED_POINTS = 9
"""Of each model, in a table."""


@dataclass(frozen=True)
class Curves:
    """What one setting has: comparable models on one pair of axes.

    Attributes:
        title: data set, device, runtime.
        cost: `forward_ms`, or `mean_blocks` where no exit costs were measured.
        models: each one's operating points, the dearest first; a static model has one.
        notes: why milliseconds are missing, or what speaks against them, with the models.
        routed: the thresholds that were routed for real, with the latency composed for each.
        energies: the same with the energy; none where it was not measured by exit, and a row
            without composed_mj where that gave no energy, with its note.
    """

    title: str
    cost: str
    models: dict[str, list[Row]]
    notes: tuple[str, ...] = ()
    routed: tuple[Row, ...] = ()
    energies: tuple[Row, ...] = ()

    @property
    def cost_label(self) -> str:
        """As axes say it."""
        return "forward latency, ms" if self.cost == "forward_ms" else "mean blocks"


def read_curves(root: storage.Root, run_id: str) -> list[Curves]:
    """The exact frontier of each setting of a run.

    Raises:
        UsageError: the run has no all-exit pass.
    """
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
        _by_setting(storage.named_query(root, name, run_ids=[run_id], run_id=run_id).to_pylist())
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
    """One setting's rows of `curve` as curves, in the best unit of cost that they have.

    A model without an accuracy, such as one whose logits are not finite, has no curve.
    """
    early = [row for row in rows if row["threshold"] is not None]
    is_timed = all(row["forward_ms"] is not None for row in early or rows)
    cost = "forward_ms" if is_timed else "mean_blocks"
    models: dict[str, list[Row]] = {}
    for row in rows:
        # Blocks of models of other widths are not alike: there a static model has no place.
        if row["acc1"] is None or row[cost] is None:
            continue
        if is_timed or not early or row["threshold"] is not None:
            models.setdefault(row["model"], []).append(row)
    said = {(row["model"], row["forward_ms_note"]) for row in rows if row["forward_ms_note"]}
    said |= {
        (row["model"], "no accuracy: see what `gfjobs status` says of its all-exit pass")
        for row in rows
        if row["acc1"] is None
    }
    notes = tuple(f"{model}: {note}" for model, note in sorted(said))
    return Curves(format_setting(rows[0]), cost, models, notes)


def select_undominated(points: Sequence[Row]) -> list[Row]:
    """Those that no other beats."""
    return [row for row in points if not row["is_dominated"]]


def thin_out(points: Sequence[Row], most: int = LISTED_POINTS) -> Iterator[Row]:
    """The first, the last, and some between, alike far apart."""
    steps = min(len(points), most)
    for step in range(steps):
        yield points[round(step * (len(points) - 1) / max(steps - 1, 1))]
