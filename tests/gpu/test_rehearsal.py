"""`make gpu ARGS=--cpu`: all checks on this processor, as a GPU's owner runs them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import gfnet
from gfnet.config import FAMILIES
from jobs.acceptance.accept import CPU_TIMES, GROUPS, SLOW_ENGINES

REPOSITORY = Path(__file__).parents[2]


def test_a_rehearsal_passes_here(tmp_path: Path) -> None:
    """Once, where Ray cannot be imported; half a minute: every engine starts."""
    code, out, err, found = rehearse(tmp_path)
    failed = [check for check in found.get("checks", []) if check["verdict"] == "fail"]
    assert (code, failed) == (0, []), f"{out}\n{err}"
    assert_all_is_checked(found)
    assert_nothing_is_made_up(found)
    assert_progress_is_on_stderr(out, err)


def rehearse(folder: Path) -> tuple[int, str, str, dict[str, Any]]:
    """Exit code, table, progress and JSON of `make gpu ARGS=--cpu`."""
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


def assert_all_is_checked(found: dict[str, Any]) -> None:
    """Each check that makes sense on a processor; each other is skipped for a reason."""
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


def assert_nothing_is_made_up(found: dict[str, Any]) -> None:
    """No GPU's figures without one; energy is NULL unless this machine has a source of power."""
    machine, checks = found["machine"], {check["name"]: check for check in found["checks"]}
    assert (machine["device"], machine["gpu"], machine["driver"]) == ("cpu", None, None)
    for name in ("NVML: clock", "NVML: energy", "host's clock and CUDA events, batch 1"):
        assert (checks[name]["verdict"], checks[name]["found"]) == ("skip", None)
    energies = checks["grid: millijoules"]["figures"].values()
    assert all((value is None) == (machine["power_source"] is None) for value in energies)
    assert "double" in checks["out of memory"]["found"]


def assert_progress_is_on_stderr(out: str, err: str) -> None:
    """Each group with its seconds; the table is on stdout, and fits a terminal."""
    for name, _, limit_s in GROUPS:
        assert f"{name}: at most {CPU_TIMES * limit_s:g} s" in err
        assert f"{name}: at most" not in out
    assert max(map(len, out.splitlines())) <= 80
    assert out.splitlines()[-1].startswith("accepted: ")
