"""When ended tasks are committed."""

from __future__ import annotations

import pytest

from jobs.driver.commit_pace import GROUP_TASKS, MAX_LINGER_S, CommitPace


class Clock:
    """Seconds that a test sets."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        """The time."""
        return self.now_s


def paced(took_s: float) -> tuple[CommitPace, Clock]:
    """A pace after one commit that took so long."""
    clock = Clock()
    pace = CommitPace(clock)
    assert pace.left_s(1) == 0
    with pace.committing():
        clock.now_s += took_s
    return pace, clock


@pytest.mark.parametrize(("took_s", "left_s"), [(0.0, 0.0), (0.01, 0.09), (1.0, MAX_LINGER_S)])
def test_commits_take_a_tenth_of_the_time(took_s: float, left_s: float) -> None:
    """The next waits nine times as long as this one took, but never for long."""
    pace, clock = paced(took_s)
    assert pace.left_s(1) == pytest.approx(left_s)
    clock.now_s += left_s
    assert pace.left_s(1) == pytest.approx(0)


def test_a_task_that_ends_late_does_not_wait() -> None:
    """Others are not to be expected."""
    pace, clock = paced(0.01)
    clock.now_s += 2.0
    assert pace.left_s(1) == 0


def test_a_full_group_does_not_wait() -> None:
    """Its rows are in memory."""
    pace, _ = paced(0.01)
    assert pace.left_s(GROUP_TASKS - 1) > 0
    assert pace.left_s(GROUP_TASKS) == 0
