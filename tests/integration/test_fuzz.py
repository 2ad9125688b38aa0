"""The fuzz run of CI; `make faults` has a longer one, `make test` a shorter."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]


def test_10000_inputs_are_each_accepted_or_refused(tmp_path: Path) -> None:
    """In a process of its own, so that its memory is bounded and a crash is a failure like any.

    Half of them are bundles.
    """
    command = ["-m", "tests.fuzz", "--inputs", "10000", "--failures", str(tmp_path)]
    done = subprocess.run(
        [sys.executable, *command], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{done.stdout}{done.stderr[-4000:]}"
    (total,) = [line.split() for line in done.stdout.splitlines() if line.split()[:1] == ["all"]]
    inputs, accepted, refused, failures = map(int, total[1:5])
    assert inputs > 9000  # hypothesis leaves out what it has tried already
    assert accepted + refused == inputs
    assert accepted > 100
    assert failures == 0
    (bundles,) = [line for line in done.stdout.splitlines() if line.split()[:1] == ["bundle"]]
    assert int(bundles.split()[1]) > 4500
    assert int(bundles.split()[2]) > 100
