"""The trade-off curve of a run: accuracy against cost at every threshold, drawn as text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

import storage
from jobs.common.errors import UsageError
from jobs.common.formatting import (
    SETTING,
    Row,
    energy_sources,
    fixed,
    model_at,
    setting_of,
    threshold_of,
)
from jobs.common.tables import long_table, text_table
from jobs.common.text import paragraphs
from jobs.common.text_chart import character_chart

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
            curves_of(list(group)),
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


def curves_of(rows: Sequence[Row]) -> Curves:
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
    return Curves(setting_of(rows[0]), cost, models, notes)


def draw(curves: Curves, *, is_all: bool = False) -> str:
    """A setting's curves for the terminal, and a table of some of their points.

    Args:
        curves: of one setting.
        is_all: whether the table has points that others beat, too.
    """
    named = {
        name: [(row[curves.cost], row["acc1"]) for row in points]
        for name, points in curves.models.items()
    }
    heading = f"{curves.title}\nacc@1, percent, by {curves.cost_label}"
    if not named:
        return f"{heading}\n\nno model has a curve\n"
    chart = character_chart(named, "ms" if curves.cost == "forward_ms" else "blocks", "acc@1")
    tables = [_table(curves, is_all=is_all)]
    if curves.routed:
        tables.append(_routed_table(curves.routed, "forward_ms", is_all=is_all))
    if curves.energies:
        tables.append(_energies(curves.energies, is_all=is_all))
    return f"{heading}\n\n{chart}\n\n" + "\n".join(tables)


def _table(curves: Curves, *, is_all: bool) -> str:
    """Some points of each model: those that no other beats, or some of all."""
    columns = ("model", "t", "acc@1", "blocks", "ms", *(["dominated"] if is_all else []))
    rows = [
        (
            name,
            "–" if row["threshold"] is None else f"{row['threshold']:.6g}",
            fixed(row["acc1"], 2),
            fixed(row["mean_blocks"], 2),
            fixed(row["forward_ms"], 3),
            *(["yes" if row["is_dominated"] else ""] if is_all else []),
        )
        for name, points in curves.models.items()
        for row in some_of(points if is_all else undominated(points))
    ]
    title = "some of all operating points" if is_all else "the frontier: what no other point beats"
    return f"{text_table(columns, rows, title)}\n{_explained(curves, is_all=is_all)}"


def _explained(curves: Curves, *, is_all: bool) -> str:
    """What the columns mean, and what is not in the table."""
    cost = "ms" if curves.cost == "forward_ms" else "blocks"
    beaten = f"another point is as accurate for fewer {cost}, or more accurate for no more"
    said = ["– t: an image leaves at the first gate whose score is at least t"]
    if is_all:
        said.append(f"– dominated: {beaten}")
    else:
        for name, points in curves.models.items():
            if points[0]["threshold"] is not None:
                left = f"{points[0]['undominated_points']} of {points[0]['points']:,} points"
                said.append(
                    f"– {name}: {left} are on the frontier; as for the rest (--all), {beaten}"
                )
            elif points[0]["is_dominated"]:
                said.append(f"– {name} is not on the frontier: {beaten}")
    return paragraphs(said)


def _routed_table(routed: Sequence[Row], figure: str, *, is_all: bool) -> str:
    """How well what exits cost says what the clock or the meter said."""
    unit = figure.rpartition("_")[2]
    shown, cost = {"ms": ("ms", "costs"), "mj": ("mJ", "energies")}[unit]
    columns = ("model", "t", f"routed {shown}", f"composed {shown}", "error")
    rows = [
        (
            row["model"],
            threshold_of(row),
            fixed(row[figure], 3),
            fixed(row[f"composed_{unit}"], 3),
            "–"
            if row["error_pct"] is None
            else f"{row['error_pct']:+.1f} %" + ("" if row["is_within"] else ", too much"),
        )
        for row in routed
    ]
    title = f"composed of exit {cost}, beside what was routed"
    return long_table(columns, rows, "rows", title, is_all=is_all)


def _energies(rows: Sequence[Row], *, is_all: bool) -> str:
    """Energies beside what was routed, what measured them, and why some are not known."""
    composed = [row for row in rows if row["composed_mj"] is not None]
    noted = [row for row in rows if row.get("note")]
    said = [f"– {model_at(row['model'], threshold_of(row))}: {row['note']}" for row in noted]
    said += [f"– {line}" for line in energy_sources(rows)]
    tables = [_routed_table(composed, "energy_mj", is_all=is_all)] if composed else []
    return "\n".join([*tables, *([paragraphs(said)] if said else [])])


def undominated(points: Sequence[Row]) -> list[Row]:
    """Those that no other beats."""
    return [row for row in points if not row["is_dominated"]]


def some_of(points: Sequence[Row], most: int = LISTED_POINTS) -> Iterator[Row]:
    """The first, the last, and some between, alike far apart."""
    steps = min(len(points), most)
    for step in range(steps):
        yield points[round(step * (len(points) - 1) / max(steps - 1, 1))]
