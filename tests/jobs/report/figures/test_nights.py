"""Charts over the nights, as an SVG shows them."""

from __future__ import annotations

import re

import pytest
import vl_convert

from jobs.report.figures.nights import nights_specs
from jobs.report.html.shell import VEGA_LITE


@pytest.mark.parametrize(
    ("values", "labels"),
    [([99.56, 99.56], ["99.56"]), ([82.0, 90.0], ["82", "83", "84", "85", "86", "87", "88"])],
)
def test_the_axis_says_the_figure_itself(values: list[float], labels: list[str]) -> None:
    """Figures that are all alike have one label; rounded, 99.56 would be 100."""
    spec = nights_specs()["acc1"] | {"width": 300}
    of_each = {"line": "static", "valid": "yes", "step": None, "run": "r", "grid": "g"}
    rows = [
        {**of_each, "night": f"2026-11-{day}T00:00:00Z", "value": value}
        for day, value in enumerate(values, 20)
    ]
    spec["data"] = spec["data"] | {"values": rows}
    svg = vl_convert.vegalite_to_svg(spec, vl_version=VEGA_LITE)
    shown = re.findall(r">([0-9.]+)</text>", svg)
    assert shown[: len(labels)] == labels
