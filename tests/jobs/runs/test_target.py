"""Where a run's tasks may go."""

from __future__ import annotations

import pytest

from jobs.common.errors import UsageError
from jobs.runs.target import Target


@pytest.mark.parametrize(
    ("target", "said"),
    [
        (Target(is_detached=True), "--detach hands the driver to a running cluster"),
        (Target(address="10.0.0.1:6379", is_inline=True), "choose one"),
        (Target(address="ray://10.0.0.1:10001"), "connects to the head"),
        (Target(address="ray://10.0.0.1:10001", is_detached=True), "connects to the head"),
    ],
)
def test_what_cannot_be_is_said_before_anything_is_asked(target: Target, said: str) -> None:
    """A client server has no list of nodes: a run once ended there with an AssertionError."""
    with pytest.raises(UsageError, match=said):
        target.check()
