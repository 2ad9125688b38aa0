"""benchmarks/until.py at small size: it runs, and its aims can be missed."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest


@pytest.fixture(autouse=True)
def _beside(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a script it finds the benchmark beside it."""
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "benchmarks"))


def test_the_small_table(
    script: Callable[[str], ModuleType],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A line for each noise, those that no rule can know of last; nothing is judged."""
    monkeypatch.setattr("sys.argv", ["until", "--small", "--cases", "40"])
    with pytest.raises(SystemExit) as ended:
        script("until").main()
    told = capsys.readouterr().out
    assert [line[:16].strip() for line in told.splitlines() if " 0.5 " in line[16:24]] == [
        "independent", "AR(1) 0.3", "AR(1) 0.6", "AR(1) 0.7", "rare", "rare, AR(1) 0.6", "heavy",
        "1 in 20, 20 sd", "1 in 50, 50 sd",
    ]  # fmt: skip
    assert "aim: holds at least 95%" in told
    assert ended.value.code == 0


def test_the_aims_can_be_missed(
    script: Callable[[str], ModuleType], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where each look spends all of the error, and rounds count as independent."""
    module = script("until")
    monkeypatch.setattr("jobs.statistics.autocorrelation.CORRELATIONS", np.zeros(1))
    monkeypatch.setattr("jobs.statistics.sequential.spend", lambda _: 0.05)
    monkeypatch.setattr(module, "spend", lambda _: 0.05)
    options = argparse.Namespace(cases=200, most=40, seed=0, until=1.0)
    _, held = module.line(module.correlated(0.6), 0.5, options)
    assert held < 0.9
