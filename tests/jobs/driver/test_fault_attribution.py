"""Whose fault it is, told from who failed what and who did it."""

from __future__ import annotations

from types import SimpleNamespace

from jobs.driver.fault_attribution import FAULTS, Suspect, Trust
from jobs.plan.order import CellBlock
from jobs.plan.task import Outcome


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


def test_every_other_host_that_failed_it_has_a_fault() -> None:
    """Whatever their order, and also where the one that did it had failed it before."""
    trust = Trust()
    for shard in range(FAULTS):
        for host in ("good", "bad", "worse"):
            trust.failed(host, key("c", shard), host)
        found = trust.succeeded("good", key("c", shard))
    assert found == ["bad", "worse"]
    assert (trust.reason("bad"), trust.reason("worse")) == ("bad", "worse")
    assert trust.succeeded("good", key("c", 0)) == [], "it is known by now"


BLOCKS = [CellBlock("cpu", name, (SimpleNamespace(cell_id=f"{name}-cell"),)) for name in ("a", "b")]


def suspect(cell: str, block: CellBlock) -> Suspect:
    """A cell that failed, of a block."""
    return Suspect(SimpleNamespace(cell_id=cell), block, Outcome({}, None, error=cell))


def test_timed_cells_are_suspects_until_it_is_known() -> None:
    """By host and block, in the order in which they failed; a cell counts once."""
    trust = Trust()
    assert (trust.suspects(), trust.clear("n")) == ([], [])
    assert not trust.is_suspect("a-cell")
    first, other, second = suspect("1", BLOCKS[0]), suspect("2", BLOCKS[1]), suspect("3", BLOCKS[0])
    for each in (first, other, second):
        trust.suspect("n", each)
    elsewhere = suspect("4", BLOCKS[0])
    trust.suspect("m", elsewhere)
    assert trust.suspects() == [
        ("n", BLOCKS[0], [first, second]),
        ("n", BLOCKS[1], [other]),
        ("m", BLOCKS[0], [elsewhere]),
    ]
    assert all(trust.is_suspect(cell) for cell in "1234")
    assert not trust.is_suspect("5")
    again = suspect("1", BLOCKS[0])
    trust.suspect("n", again)
    assert trust.suspects()[0] == ("n", BLOCKS[0], [again, second])
    assert trust.clear("n") == [again, other, second]
    assert trust.suspects() == [("m", BLOCKS[0], [elsewhere])]


def test_a_block_is_forgotten_on_all_hosts() -> None:
    """Its cells, and those of no other."""
    trust = Trust()
    for host, cell, block in (("n", "a-cell", 0), ("m", "a-cell", 0), ("n", "b-cell", 1)):
        trust.suspect(host, suspect(cell, BLOCKS[block]))
    trust.forget(BLOCKS[0])
    assert not trust.is_suspect("a-cell")
    assert trust.is_suspect("b-cell")
    trust.forget(BLOCKS[0])
