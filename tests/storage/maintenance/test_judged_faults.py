"""fsck of what `gfjobs judge` left beside a run."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import storage
import storage.backends
import storage.tables.parquet
from tests.storage.one_run import Made, copied, whole

pytestmark = pytest.mark.usefixtures("short_ladder")

REGRESSION_SETTING = (
    *("model", "dataset", "device", "node", "runtime", "precision"),
    *("threads", "batch_size", "threshold", "thresholds"),
)


def judge(root: Path, **changes: Any) -> Path:
    """What `gfjobs judge` leaves beside a run."""
    row = storage.RegressionRow(
        "run-1",
        **dict.fromkeys(REGRESSION_SETTING),
        metric="latency",
        kind="step",
        verdict="ok",
        value=2.0,
        effect_pct=0.5,
    )
    row = dataclasses.replace(row, **changes)
    storage.save_regressions(root, "run-1", [row])
    return root / "runs" / "run-1" / "regressions.parquet"


JUDGED_FAULTS: dict[str, tuple[Callable[[Path], object], str]] = {
    "torn": (lambda file: file.write_bytes(b"PAR1"), "cannot be trusted"),
    "of other columns": (
        lambda file: file.write_bytes((file.parent / "cells.parquet").read_bytes()),
        "is not a file of the table `regressions`",
    ),
    "of another run": (
        lambda file: file.write_bytes(
            storage.tables.parquet.parquet_bytes(
                storage.tables.parquet.read_table(storage.backends.open_backend(file)).set_column(
                    0, "run_id", [["run-2"]]
                )
            )
        ),
        "run-2",
    ),
    "infinite": (
        lambda file: judge(file.parents[2], value=float("inf")),
        "has a value that is not a finite number",
    ),
    "no number": (
        lambda file: judge(file.parents[2], thresholds=(0.5, float("nan"))),
        "has a thresholds that is not a finite number",
    ),
}


@pytest.mark.parametrize("fault", JUDGED_FAULTS)
def test_what_was_judged_is_checked_and_set_aside(
    made: dict[bool, Made], tmp_path: Path, fault: str
) -> None:
    """It is kept for whoever wants to look, and `judge` makes it anew; the run stays as it is."""
    act, said = JUDGED_FAULTS[fault]
    _, expected = copied(made[False], tmp_path)
    file = judge(tmp_path)
    act(file)
    damaged = file.read_bytes()
    (problem,) = storage.fsck(tmp_path)
    assert problem.what.startswith("regressions.parquet: ")
    assert said in problem.what
    assert "gfjobs judge run-1" in problem.remedy
    assert file.read_bytes() == damaged
    (problem,) = storage.fsck(tmp_path, is_repair=True)
    assert problem.is_repaired
    assert not file.exists()
    assert file.with_name("regressions.parquet.damaged").read_bytes() == damaged
    assert storage.fsck(tmp_path) == []
    assert storage.query(tmp_path, "FROM regressions").num_rows == 0
    assert whole(tmp_path) == expected
