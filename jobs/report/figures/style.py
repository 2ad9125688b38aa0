"""Style of a report's charts, and `Figure`: a chart's specification, texts and data."""

from __future__ import annotations

from collections.abc import Sequence
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
    """Makes a legend that fits a phone: two columns of short names, or one of truncated ones."""
    is_short = max(map(len, names), default=0) <= _SHORT_NAME
    return alt.Legend(
        columns=2 if is_short else 1, labelLimit=135 if is_short else 270, symbolOpacity=1
    )
