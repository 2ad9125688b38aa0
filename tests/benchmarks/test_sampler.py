"""The sampler's benchmark: that it counts what the thread used, and fails beyond the limit."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import ModuleType

import pytest


def test_it_prints_the_share_of_a_core(
    script: Callable[[str], ModuleType],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Every figure is there; the exit code says whether the limit is kept."""
    module = script("sampler")
    monkeypatch.setattr(sys, "argv", ["sampler", "--seconds", "0.5"])
    for limit, is_beyond in ((1.0, False), (0.0, True)):
        monkeypatch.setattr(module, "LIMIT", limit or 1e-9)
        with pytest.raises(SystemExit) as ended:
            module.main()
        assert bool(ended.value.code) == is_beyond
        lines = capsys.readouterr().out.splitlines()
        assert lines[0].startswith("ina3221: VDD_GPU_SOC + VDD_CPU_CV + VIN_SYS_5V0; every 100 ms")
        assert float(lines[2].split()[4].rstrip("%")) > 0
        assert int(lines[4].split()[1]) >= 2
