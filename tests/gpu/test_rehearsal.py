"""`make gpu ARGS=--cpu`: all checks on this processor, as a GPU's owner runs them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import gfnet
from gfnet.config import FAMILIES
from jobs.acceptance.accept import CPU_TIMES, GROUPS, SLOW_ENGINES

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def rehearsed(tmp_path_factory: pytest.TempPathFactory) -> tuple[int, str, str, dict[str, Any]]:
    """Exit code, table, progress and JSON of a rehearsal where Ray cannot be imported.

    Half a minute: ONNX graphs are exported, and every engine starts.
    """
    folder = tmp_path_factory.mktemp("rehearsal")
    (folder / "ray.py").write_text("raise ImportError('an acceptance needs no Ray')")
    done = subprocess.run(
        [sys.executable, "-m", "tests.gpu", "--cpu", "--json", str(folder / "found.json")],
        cwd=REPOSITORY,
        env=os.environ | {"PYTHONPATH": f"{folder}{os.pathsep}{REPOSITORY}"},
        capture_output=True,
        text=True,
        check=False,
    )
    file = folder / "found.json"
    found = json.loads(file.read_text()) if file.exists() else {}
    return done.returncode, done.stdout, done.stderr, found


def test_it_passes_here(rehearsed: tuple[int, str, str, dict[str, Any]]) -> None:
    """Each check that makes sense on a processor; each other is skipped for a reason."""
    code, out, err, found = rehearsed
    failed = [check for check in found.get("checks", []) if check["verdict"] == "fail"]
    assert (code, failed) == (0, []), f"{out}\n{err}"
    verdicts = {check["name"]: check["verdict"] for check in found["checks"]}
    assert len(verdicts) == len(found["checks"]), "one name, one check"
    for family in FAMILIES:
        assert verdicts[f"torch float32: {family}"] == "ok"
    for name in gfnet.RUNTIMES:
        if name in SLOW_ENGINES:
            assert verdicts[name] == "skip"
        else:
            assert f"{name} float32: the student" in verdicts
            assert f"{name}: time by exit, batch 64" in verdicts
    ran = ("TF32 is switched off", "out of memory", "grid: milliseconds", "grid: millijoules")
    assert {verdicts[name] for name in ran} == {"ok"}
    assert all(check["reason"] for check in found["checks"] if check["verdict"] == "skip")


def test_nothing_is_made_up(rehearsed: tuple[int, str, str, dict[str, Any]]) -> None:
    """No GPU's figures without one; energy is NULL unless this machine has a source of power."""
    *_, found = rehearsed
    machine, checks = found["machine"], {check["name"]: check for check in found["checks"]}
    assert (machine["device"], machine["gpu"], machine["driver"]) == ("cpu", None, None)
    for name in ("NVML: clock", "NVML: energy", "host's clock and CUDA events, batch 1"):
        assert (checks[name]["verdict"], checks[name]["found"]) == ("skip", None)
    energies = checks["grid: millijoules"]["figures"].values()
    assert all((value is None) == (machine["power_source"] is None) for value in energies)
    assert "double" in checks["out of memory"]["found"]


def test_progress_is_on_stderr(rehearsed: tuple[int, str, str, dict[str, Any]]) -> None:
    """Each group with its seconds; the table is on stdout, and fits a terminal."""
    _, out, err, _ = rehearsed
    for name, _, limit_s in GROUPS:
        assert f"{name}: at most {CPU_TIMES * limit_s:g} s" in err
        assert f"{name}: at most" not in out
    assert max(map(len, out.splitlines())) <= 80
    assert out.splitlines()[-1].startswith("accepted: ")
