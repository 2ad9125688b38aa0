"""What is said of rows whose node has another time of day."""

from __future__ import annotations

import pytest

import storage
from jobs.driver.run_writer import with_clock_remark
from jobs.plan.task import Outcome


@pytest.mark.parametrize(
    ("ended_s", "said"),
    [
        (1059.0, ""),
        (None, ""),
        (1190.0, "the clock of board is 3 min ahead of the driver's: started_at uses the node's"),
        (400.0, "the clock of board is 10 min behind the driver's: started_at uses the node's"),
    ],
)
def test_a_clock_that_is_minutes_off_is_told(ended_s: float | None, said: str) -> None:
    """Beside whatever else the note says; a lost task has no clock."""
    node = storage.NodeRow(run_id="r", node="board", device="cpu", host="board", architecture="")
    outcome = Outcome({}, node, note="odd", ended_s=ended_s)
    told = with_clock_remark(outcome, now_s=1000.0).note
    assert told == "; ".join(filter(None, ("odd", said)))
