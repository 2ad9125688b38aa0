"""The curve of a run as text."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from jobs.analysis.curve import Curves, read_curves
from jobs.report.terminal.curve import draw_curves

TITLE = (
    "photographs-of-crops on jetson-orin-nano of greenhouse-3-second-shelf: onnx float16,"
    " all processors"
)


@pytest.fixture(scope="module")
def curves(shown_root: Path) -> Curves:
    """Those of the run `made`."""
    (found,) = read_curves(shown_root, "made")
    return found


def test_a_long_heading_is_folded(curves: Curves) -> None:
    """Between words, in 80 columns; the name of the axis stays on a line of its own."""
    lines = draw_curves(replace(curves, title=TITLE)).splitlines()
    assert " ".join(line.strip() for line in lines[:2]) == TITLE
    assert lines[2].startswith("acc@1, percent, by ")
    assert lines[3] == ""
    assert max(map(len, lines)) <= 80


def test_a_run_without_a_curve_says_so(curves: Curves) -> None:
    """Below the same heading."""
    text = draw_curves(replace(curves, title=TITLE, models={}))
    assert text.endswith("\n\nno model has a curve\n")
    assert max(map(len, text.splitlines())) <= 80
