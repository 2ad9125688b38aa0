"""Style of a report's charts, and `Figure`: a chart's specification, texts and data."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import altair as alt
from altair.utils import schemapi

from jobs.common.formatting import Row
from jobs.common.text import escape_all

# Altair compares all parts of a chart with the schema of Vega-Lite, and then the whole chart: more
# than half of the time of drawing. The tests do it (tests/jobs/report/conftest.py).
schemapi.disable_debug_mode()

# Distinguishable in any colour vision (Okabe and Ito), without yellow, which is pale on white.
COLOURS = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#8c8c8c"]
INK = "currentColor"  # the colour of the surrounding text: readable in light, dark and print
HEIGHT = 260  # pixels
ROW_HEIGHT = 34
_SHORT_NAME = 18  # characters
_DASHES = [[1, 0], [6, 3], [2, 2], [10, 3, 2, 3], [14, 4], [5, 2, 1, 2, 1, 2]]
_CONFIG: dict[str, Any] = {
    "background": None,
    "font": "system-ui, 'DejaVu Sans', sans-serif",  # the page's font, so that text widths match
    "view": {"stroke": None},
    "axis": {
        "labelColor": INK,
        "titleColor": INK,
        "tickColor": INK,
        "domainColor": INK,
        "gridColor": INK,
        "gridOpacity": 0.15,
        "labelFontSize": 12,
        "titleFontSize": 12,
        "titleFontWeight": "normal",
        "labelLimit": 150,
    },
    "axisX": {"labelFlush": False, "labelOverlap": "greedy", "labelSeparation": 6},
    "legend": {
        "orient": "top",
        "labelColor": INK,
        "titleColor": INK,
        "labelFontSize": 12,
        "titleFontSize": 12,
        "titleFontWeight": "normal",
        "columns": 2,
        "symbolStrokeWidth": 3,
    },
    "range": {"category": COLOURS},
}


class Doubtful(str):
    """A figure that is not promised: the page greys it."""

    __slots__ = ()


@dataclass(frozen=True)
class Figure:
    """One chart.

    Attributes:
        name: name of its file and identifier in a page: letters, digits and dashes.
        title: what it shows.
        alternative: a description in words.
        spec: Vega-Lite, as wide as its container.
        columns, rows: its data as a table, or some of it.
    """

    name: str
    title: str
    alternative: str
    spec: dict[str, Any]
    columns: Sequence[str]
    rows: Sequence[Sequence[object]]


def add_title(title: str, sources: Sequence[str]) -> str:
    """Adds the sources of energies to a title, since an SVG has no text around it."""
    named = "; ".join(line.removeprefix("energy: ") for line in sources)
    return f"{title} ({named})" if named else title


def make_chart(rows: Sequence[Row], name: str = "") -> Any:
    """Makes a chart of rows; if they have a name, a page's script can replace them."""
    return alt.Chart(make_data(rows, name))


def make_data(rows: Sequence[Row], name: str = "") -> Any:
    """Makes the data of a chart."""
    data: Any = alt.Data  # untyped in altair
    return data(values=list(rows), **({"name": name} if name else {}))


def finish_chart(chart: Any, height: int) -> dict[str, Any]:
    """Returns a chart as JSON, as wide as its container, without the URL of its schema."""
    spec: dict[str, Any] = chart.properties(width="container", height=height).to_dict(
        validate=False
    )
    del spec["$schema"]
    spec["autosize"] = {"type": "fit-x", "contains": "padding"}
    spec["config"] = _CONFIG
    escaped: dict[str, Any] = escape_all(spec)  # a control character aborts the renderer
    return escaped


def make_legend(names: Sequence[str]) -> alt.Legend:
    """Makes a legend that fits a phone: two columns of short names, or one of truncated ones.

    It has these names alone, in this order; without any, those that the rows have.
    """
    is_short = max(map(len, names), default=0) <= _SHORT_NAME
    values: dict[str, Any] = {"values": list(names)} if names else {}
    return alt.Legend(
        columns=2 if is_short else 1,
        labelLimit=135 if is_short else 270,
        symbolOpacity=1,
        **values,
    )


def pick_colour(model: str, models: Sequence[str]) -> str:
    """Returns the colour of a model: by its place among those of the page."""
    return COLOURS[models.index(model) % len(COLOURS)]


def colour_models(names: Sequence[str], models: Sequence[str]) -> alt.Color:
    """Colours the field `model`: a model alike in all charts of a page.

    Args:
        names: those in the legend; without any, there is none.
        models: all of the page, in the order that gives them their colours.
    """
    legend = make_legend(names) if names else None
    return alt.Color("model:N", title=None, scale=alt.Scale(domain=list(models)), legend=legend)


def style_lines(field: str, lines: Mapping[str, str], models: Sequence[str]) -> dict[str, Any]:
    """Encodes lines of models: in the model's colour; several of one model differ by dashes.

    Args:
        field: the field that names the line.
        lines: the model of each.
        models: as for `colour_models`.
    """
    names, numbers, dashes = list(lines), Counter[str](), []
    for model in lines.values():
        dashes.append(_DASHES[numbers[model] % len(_DASHES)])
        numbers[model] += 1
    is_dashed = len(numbers) < len(names)
    legend = make_legend(names)
    if is_dashed:  # a circle would not show them
        legend.symbolType, legend.symbolSize = "stroke", 400
    shared: dict[str, Any] = {"shorthand": f"{field}:N", "title": None, "legend": legend}
    shades = [pick_colour(model, models) for model in lines.values()]
    channels: dict[str, Any] = {
        "color": alt.Color(scale=alt.Scale(domain=names, range=shades), **shared)
    }
    if is_dashed:
        scale = alt.Scale(domain=names, range=dashes)
        channels["strokeDash"] = alt.StrokeDash(scale=scale, **shared)
    return channels
