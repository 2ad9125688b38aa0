"""How charts of a report look, and what each consists of: its specification, words, figures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import altair as alt

from jobs.common.formatting import Row

# Told apart in any colour vision (Okabe and Ito), without the yellow that white swallows.
COLOURS = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#8c8c8c"]
INK = "currentColor"  # of the text around: readable in light, dark and print
HEIGHT = 260  # pixels
ROW_HEIGHT = 34
_SHORT_NAME = 18  # characters
_CONFIG: dict[str, Any] = {
    "background": None,
    "font": "system-ui, 'DejaVu Sans', sans-serif",  # the page's, so that text is measured as it is
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


@dataclass(frozen=True)
class Figure:
    """One chart.

    Attributes:
        name: of its file, and its identifier in a page: letters, digits and dashes.
        title: what it shows.
        alternative: in words, what is to be seen there.
        spec: Vega-Lite, as wide as what holds it.
        columns, rows: its figures, or some of them.
    """

    name: str
    title: str
    alternative: str
    spec: dict[str, Any]
    columns: Sequence[str]
    rows: Sequence[Sequence[object]]


def add_title(title: str, sources: Sequence[str]) -> str:
    """A title of energies with what measured them, for an SVG has no text beside it."""
    named = "; ".join(line.removeprefix("energy: ") for line in sources)
    return f"{title} ({named})" if named else title


def make_chart(rows: Sequence[Row], name: str = "") -> Any:
    """A chart of rows, which a page's script may replace where they have a name."""
    data: Any = alt.Data  # untyped there
    return alt.Chart(data(values=list(rows), **({"name": name} if name else {})))


def finish_chart(chart: Any, height: int) -> dict[str, Any]:
    """A chart as JSON, as wide as what holds it; without the address of its schema."""
    spec: dict[str, Any] = chart.properties(width="container", height=height).to_dict()
    del spec["$schema"]
    spec["autosize"] = {"type": "fit-x", "contains": "padding"}
    spec["config"] = _CONFIG
    return spec


def make_legend(names: Sequence[str]) -> alt.Legend:
    """In columns that fit a phone: two of short names, one of long ones, which are cut there."""
    is_short = max(map(len, names), default=0) <= _SHORT_NAME
    return alt.Legend(
        columns=2 if is_short else 1, labelLimit=135 if is_short else 270, symbolOpacity=1
    )
