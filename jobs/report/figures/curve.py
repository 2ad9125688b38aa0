"""The trade-off curve as a PNG or SVG file, drawn with Altair."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jobs.analysis.curve import Curves
from jobs.common.errors import UsageError
from jobs.common.text import escape_controls

SUFFIXES = (".png", ".svg")
_WIDTH, _HEIGHT = 480, 320  # pixels of a chart
_PNG_SCALE = 2.0  # for print


def save_figure(every: Sequence[Curves], path: Path) -> None:
    """Write a picture with one chart per setting, one below the other.

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
    charts = [_chart(alt, curves) for curves in every]
    figure = alt.vconcat(*charts).configure_view(continuousWidth=_WIDTH)
    try:
        figure.save(str(path), scale_factor=_PNG_SCALE)
    except OSError as err:
        raise UsageError(f"{path} cannot be written: {err.strerror}") from err


def _chart(alt: Any, curves: Curves) -> Any:
    # A control character aborts the renderer.
    models = {escape_controls(name): points for name, points in curves.models.items()}
    rows = [
        {"model": name, "cost": row[curves.cost], "acc1": row["acc1"], "order": number}
        for name, points in models.items()
        for number, row in enumerate(points)
    ]
    base = alt.Chart(alt.Data(values=rows), title=escape_controls(curves.title)).encode(
        x=alt.X("cost:Q", title=curves.cost_label, scale=alt.Scale(zero=False)),
        y=alt.Y("acc1:Q", title="acc@1, percent", scale=alt.Scale(zero=False)),
        color=alt.Color("model:N", sort=list(models)),
    )
    line = base.mark_line().encode(order="order:Q")
    single = [name for name, points in models.items() if len(points) == 1]
    point = base.mark_point(filled=True, size=80).transform_filter(
        alt.FieldOneOfPredicate(field="model", oneOf=single)
    )
    return (line + point).properties(width=_WIDTH, height=_HEIGHT)
