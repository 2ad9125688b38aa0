"""The composition benchmark: its errors by hand; and that it routes and forces real images."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest


def test_errors_by_hand(script: Callable[[str], ModuleType]) -> None:
    """2.02 for 2 ms is 1 % too much, in each of three units; 3 for 4 is 25 % too little."""
    module = script("composition")
    same = np.ones((3, 1))
    lines, are_within = module.table([0.5], 2 * same, 2.02 * same)
    assert lines.splitlines()[1].split()[-3:] == ["1.00%"] * 3
    assert are_within
    lines, are_within = module.table([0.5], 4 * same, 3 * same)
    assert lines.splitlines()[1].split()[-3:] == ["-25.00%"] * 3
    assert not are_within


def test_it_measures_both(printed: Callable[..., str], capsys: pytest.CaptureFixture[str]) -> None:
    """Whether so few images are within the aim is chance, and so the exit code."""
    with pytest.raises(SystemExit):
        printed("composition", "--units", "2", "--images", "8", "--thresholds", "0.5", "0.9")
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[2:4]] == ["0.5", "0.9"]
    routed, composed = (float(figure) for figure in lines[2].split()[1:3])
    assert 0 < routed < 10 * composed < 100 * routed


def test_who_leaves_where_is_costed(script: Callable[[str], ModuleType]) -> None:
    """Forced exits cost 1 and 3 ms; half of the images leave at each: 2 ms composed."""
    bench = SimpleNamespace(
        routed=lambda _, threshold: (np.full(4, threshold), np.array([0, 1, 1, 0])),
        forced=lambda _: np.array([[1.0, 3.0]] * 4),
    )
    routed, composed = script("composition").unit(bench, [b""] * 4, [0.5, 0.9])
    assert routed == pytest.approx([0.5, 0.9])
    assert composed == [2.0, 2.0]
