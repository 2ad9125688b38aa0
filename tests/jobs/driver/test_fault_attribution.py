"""Whose fault it is, told from who failed what and who did it."""

from __future__ import annotations

from types import SimpleNamespace

from jobs.driver.fault_attribution import FAULTS, Attribution, Suspect
from jobs.plan.order import CellBlock
from jobs.plan.task import Outcome


def key(cell: str, shard: int) -> tuple[str, int, int]:
    """A task."""
    return cell, 0, shard


def test_a_task_that_others_did_is_the_hosts_fault() -> None:
    """After so many tasks, with the error of the last; not before."""
    attribution = Attribution()
    for shard in range(FAULTS):
        attribution.fail("bad", key("c", shard), f"error {shard}")
    found = [attribution.succeed("good", key("c", shard)) for shard in range(FAULTS)]
    assert found == [[], [], ["bad"]]
    assert attribution.reason("bad") == "error 2"


def test_a_success_in_between_starts_the_count_again() -> None:
    """A machine that fails now and then is no machine that fails every task."""
    attribution = Attribution()
    for shard in range(10):
        attribution.fail("flaky", key("c", shard), "error")
        assert attribution.succeed("good", key("c", shard)) == []
        if shard % (FAULTS - 1) == 1:
            assert attribution.succeed("flaky", key("d", shard)) == []


def test_doing_it_oneself_in_a_second_try_is_no_fault() -> None:
    """The same machine failed it and did it."""
    attribution = Attribution()
    for shard in range(FAULTS):
        attribution.fail("board", key("c", shard), "error")
        assert attribution.succeed("board", key("c", shard)) == []


def test_a_host_that_fails_much_is_held_until_it_is_known_why() -> None:
    """A cell that failed explains all of its shards at once."""
    attribution = Attribution()
    for shard in range(FAULTS - 1):
        attribution.fail("board", key("c", shard), "error")
    assert attribution.held == frozenset()
    attribution.fail("board", key("c", FAULTS), "error")
    attribution.fail("board", key("d", 0), "error")
    assert attribution.held == {"board"}
    attribution.clear_cell("c")
    assert attribution.held == frozenset()


def test_every_other_host_that_failed_it_has_a_fault() -> None:
    """Whatever their order, and also where the one that did it had failed it before."""
    attribution = Attribution()
    for shard in range(FAULTS):
        for host in ("good", "bad", "worse"):
            attribution.fail(host, key("c", shard), host)
        found = attribution.succeed("good", key("c", shard))
    assert found == ["bad", "worse"]
    assert (attribution.reason("bad"), attribution.reason("worse")) == ("bad", "worse")
    assert attribution.succeed("good", key("c", 0)) == [], "it is known by now"


BLOCKS = [CellBlock("cpu", name, (SimpleNamespace(cell_id=f"{name}-cell"),)) for name in ("a", "b")]


def suspect(cell: str, block: CellBlock) -> Suspect:
    """A cell that failed, of a block."""
    return Suspect(SimpleNamespace(cell_id=cell), block, Outcome({}, None, error=cell))


def test_timed_cells_are_suspects_until_it_is_known() -> None:
    """By host and block, in the order in which they failed; a cell counts once."""
    attribution = Attribution()
    assert (attribution.suspects(), attribution.clear_host("n")) == ([], [])
    assert not attribution.is_suspect("a-cell")
    first, other, second = suspect("1", BLOCKS[0]), suspect("2", BLOCKS[1]), suspect("3", BLOCKS[0])
    for each in (first, other, second):
        attribution.suspect("n", each)
    elsewhere = suspect("4", BLOCKS[0])
    attribution.suspect("m", elsewhere)
    assert attribution.suspects() == [
        ("n", BLOCKS[0], [first, second]),
        ("n", BLOCKS[1], [other]),
        ("m", BLOCKS[0], [elsewhere]),
    ]
    assert all(attribution.is_suspect(cell) for cell in "1234")
    assert not attribution.is_suspect("5")
    again = suspect("1", BLOCKS[0])
    attribution.suspect("n", again)
    assert attribution.suspects()[0] == ("n", BLOCKS[0], [again, second])
    assert attribution.clear_host("n") == [again, other, second]
    assert attribution.suspects() == [("m", BLOCKS[0], [elsewhere])]


def test_a_block_is_forgotten_on_all_hosts() -> None:
    """Its cells, and those of no other."""
    attribution = Attribution()
    for host, cell, block in (("n", "a-cell", 0), ("m", "a-cell", 0), ("n", "b-cell", 1)):
        attribution.suspect(host, suspect(cell, BLOCKS[block]))
    attribution.forget(BLOCKS[0])
    assert not attribution.is_suspect("a-cell")
    assert attribution.is_suspect("b-cell")
    attribution.forget(BLOCKS[0])
