"""Whose fault it is, told from who failed what and who did it."""

from __future__ import annotations

from jobs.trust import FAULTS, Trust


def key(cell: str, shard: int) -> tuple[str, int, int]:
    """A task."""
    return cell, 0, shard


def test_what_others_did_convicts() -> None:
    """After so many tasks, with the error of the last; not before."""
    trust = Trust()
    for shard in range(FAULTS):
        trust.failed("bad", key("c", shard), f"error {shard}")
    found = [trust.succeeded("good", key("c", shard)) for shard in range(FAULTS)]
    assert found == [[], [], ["bad"]]
    assert trust.reason("bad") == "error 2"


def test_a_success_in_between_acquits() -> None:
    """A machine that fails now and then is no machine that fails every task."""
    trust = Trust()
    for shard in range(10):
        trust.failed("flaky", key("c", shard), "error")
        assert trust.succeeded("good", key("c", shard)) == []
        if shard % (FAULTS - 1) == 1:
            assert trust.succeeded("flaky", key("d", shard)) == []


def test_doing_it_oneself_in_a_second_try_is_no_fault() -> None:
    """The same machine failed it and did it."""
    trust = Trust()
    for shard in range(FAULTS):
        trust.failed("board", key("c", shard), "error")
        assert trust.succeeded("board", key("c", shard)) == []


def test_who_fails_much_is_held_until_it_is_known_why() -> None:
    """A cell that failed explains all of its shards at once."""
    trust = Trust()
    for shard in range(FAULTS - 1):
        trust.failed("board", key("c", shard), "error")
    assert trust.held == frozenset()
    trust.failed("board", key("c", FAULTS), "error")
    trust.failed("board", key("d", 0), "error")
    assert trust.held == {"board"}
    trust.blamed_on_cell("c")
    assert trust.held == frozenset()
