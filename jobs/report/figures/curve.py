"""Curves of accuracy against cost as a PNG or SVG file, drawn with Altair."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from jobs.analysis.curve import Curves
from jobs.analysis.thresholds.exit_rules import RuleComparison
from jobs.common.errors import UsageError
from jobs.common.text import escape_controls

SUFFIXES = (".png", ".svg")
_WIDTH, _HEIGHT = 480, 320  # pixels of a chart
_PNG_SCALE = 2.0  # for print


class Drawing(NamedTuple):
    """One chart.

    Attributes:
        title: what it shows.
        cost_label: title of the horizontal axis.
        what: what the lines are, as title of the legend.
        lines: points of cost and accuracy in percent, by name.
    """

    title: str
    cost_label: str
    what: str
    lines: Mapping[str, Sequence[tuple[float, float]]]


def drawing_of_curves(curves: Curves) -> Drawing:
    """Return the chart of one setting: a line per model."""
    lines = {
        name: [(row[curves.cost], row["acc1"]) for row in points]
        for name, points in curves.models.items()
    }
    return Drawing(curves.title, curves.cost_label, "model", lines)


def drawing_of_rules(rules: RuleComparison) -> Drawing:
    """Return the chart of one all-exit pass: a line per exit rule."""
    return Drawing(rules.title, "mean blocks", "exit rule", rules.lines())


def save_figure(every: Sequence[Drawing], path: Path) -> None:
    """Write a picture with one chart below the other.

    Raises:
        UsageError: unknown suffix, Altair is not installed, or the file cannot be written.
    """
    if path.suffix not in SUFFIXES:
        raise UsageError(f"{path}: a figure is written as {' or '.join(SUFFIXES)}")
    try:
        import altair as alt
        import vl_convert  # noqa: F401 - altair renders with it
    except ImportError as err:
        raise UsageError(f"{path}: {err.name} is missing: pip install 'gfjobs[plot]'") from err
    charts = [_chart(alt, drawing) for drawing in every]
    figure = alt.vconcat(*charts).configure_view(continuousWidth=_WIDTH)
    try:
        figure.save(str(path), scale_factor=_PNG_SCALE)
    except OSError as err:
        raise UsageError(f"{path} cannot be written: {err.strerror}") from err


def _chart(alt: Any, drawing: Drawing) -> Any:
    # A control character aborts the renderer.
    lines = {escape_controls(name): points for name, points in drawing.lines.items()}
    rows = [
        {"name": name, "cost": cost, "acc1": acc1, "order": number}
        for name, points in lines.items()
        for number, (cost, acc1) in enumerate(points)
    ]
    base = alt.Chart(alt.Data(values=rows), title=escape_controls(drawing.title)).encode(
        x=alt.X("cost:Q", title=drawing.cost_label, scale=alt.Scale(zero=False)),
        y=alt.Y("acc1:Q", title="acc@1, percent", scale=alt.Scale(zero=False)),
        color=alt.Color("name:N", sort=list(lines), title=drawing.what),
    )
    line = base.mark_line().encode(order="order:Q")
    single = [name for name, points in lines.items() if len(points) == 1]
    point = base.mark_point(filled=True, size=80).transform_filter(
        alt.FieldOneOfPredicate(field="name", oneOf=single)
    )
    return (line + point).properties(width=_WIDTH, height=_HEIGHT)
