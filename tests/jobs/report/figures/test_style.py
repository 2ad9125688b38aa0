"""Charts are written as Vega-Lite."""

from __future__ import annotations

from typing import Any

import altair as alt
import pytest
from altair.utils.schemapi import SchemaValidationError

from jobs.report.figures.style import finish_chart, make_chart


def test_a_chart_that_is_not_vega_lite_is_noticed_here() -> None:
    """Reports do not validate: the tests must, whatever draws the chart."""
    scale: Any = alt.Scale(zero="no")
    chart = make_chart([{"ms": 1.0}]).mark_point().encode(x=alt.X("ms:Q", scale=scale))
    with pytest.raises(SchemaValidationError):
        finish_chart(chart, 100)
    with pytest.raises(SchemaValidationError):
        finish_chart(chart + chart, 100)
