"""The queue of a block, by hand: what it hands out to which host, and in which order."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from jobs.driver.block_queue import BlockQueue
from jobs.plan.order import CellBlock
from jobs.plan.task import Shard, Task


def task(shard: int, cell: str = "cell", kind: str = "exits") -> Task:
    """A task that is told by its shard."""
    return Task(
        run_id="r",
        cell_id=cell,
        round=0,
        shard=Shard(shard, 0, 1),
        position=None if kind == "exits" else shard,
        kind=kind,
        model="m",
        dataset="d",
        checkpoint_sha256="",
        dataset_sha256="",
        exit_blocks=(),
        thresholds=(),
        device="cpu",
        runtime="torch",
        precision="float32",
        threads=1,
        batch_size=1,
        warmup_images=0,
    )


class Queue:
    """A queue of four tasks, and hosts that ask it."""

    def __init__(self, kind: str = "exits", affinity: str | None = None) -> None:
        self.drawn = 0
        self.over: set[str] = set()
        self.tasks = [task(0, kind=kind), task(1, "other", kind), task(2, kind=kind)]
        self.tasks.append(task(3, kind=kind))
        dataset = None if kind == "exits" else "d"
        self.queue = BlockQueue(CellBlock("cpu", dataset, ()), self._draw(), affinity)

    def _draw(self) -> Iterator[Task]:
        for each in self.tasks:
            self.drawn += 1
            yield each

    def is_over(self, cell: str) -> bool:
        """Whether a cell is."""
        return cell in self.over

    def ask(self, host: str, *others: str, is_held: bool = False) -> int | None:
        """The shard that a host gets."""
        found = self.queue.first(host, others, self.is_over, is_held=is_held)
        if found is None:
            return None
        self.queue.take(found)
        return found.shard.number

    def lose(self, shard: int, host: str) -> None:
        """A host has lost one."""
        self.queue.give_back(self.tasks[shard], host, again=True, is_lost=True)


def test_the_rest_is_handed_out_where_a_task_was_lost() -> None:
    """One after the other; the lost one waits for another host, and goes there first."""
    queue = Queue()
    assert queue.ask("a", "b") == 0
    queue.lose(0, "a")
    assert [queue.ask("a", "b") for _ in range(3)] == [1, 2, 3]
    assert queue.ask("a", "b") is None
    assert queue.queue.has_more(queue.is_over), "it waits for b"
    assert queue.ask("b", "a") == 0
    assert not queue.queue.has_more(queue.is_over)


def test_a_task_that_all_others_lost_too_goes_to_any() -> None:
    """Also to the only one there is."""
    queue = Queue()
    assert queue.ask("a", "b") == 0
    queue.lose(0, "a")
    assert queue.ask("b", "a") == 0
    queue.lose(0, "b")
    assert queue.ask("a", "b") == 0
    queue.lose(0, "a")
    assert queue.ask("a", "b", "c") == 1, "c has not tried it"
    assert queue.ask("a") == 0, "nobody else is there now"


def test_a_timed_task_is_not_overtaken() -> None:
    """Neither at its home, to which it goes again, nor at a host that must wait: ABBA stays."""
    queue = Queue("latency", affinity="a")
    assert queue.ask("a") == 0
    queue.lose(0, "a")
    assert [queue.ask("a") for _ in range(4)] == [0, 1, 2, 3]
    queue = Queue("latency")
    assert queue.ask("a", "b") == 0
    queue.lose(0, "a")
    assert queue.ask("a", "b") is None
    assert queue.ask("b", "a") == 0


@pytest.mark.parametrize("is_held", [False, True])
def test_what_is_over_is_not_handed_out(*, is_held: bool) -> None:
    """Wherever it stands: behind a task that waits for another host, or not drawn yet."""
    queue = Queue()
    assert [queue.ask("a", "b"), queue.ask("b", "a")] == [0, 1]
    queue.lose(1, "b")
    queue.lose(0, "a")
    queue.over = {"other"}
    assert queue.ask("a", "b", is_held=is_held) == (None if is_held else 2)
    assert queue.ask("b", "a", is_held=is_held) == 0
    queue.over = {"cell"}
    assert queue.ask("a", "b", is_held=is_held) == 1
    assert not queue.queue.has_more(queue.is_over)


def test_a_held_host_gets_what_others_lost_and_else_nothing() -> None:
    """While there are others: the only one gets all."""
    queue = Queue()
    assert queue.ask("a", "b", is_held=True) is None
    assert queue.drawn == 0, "what is to come was lost nowhere"
    assert queue.ask("b", "a") == 0
    assert queue.ask("b", "a") == 1
    queue.queue.give_back(queue.tasks[1], "b", again=True, is_lost=False)
    queue.lose(0, "b")
    assert queue.ask("a", "b", is_held=True) == 0
    assert queue.ask("a", "b", is_held=True) is None, "nobody lost what is left"
    assert [queue.ask("a", is_held=True) for _ in range(4)] == [1, 2, 3, None]


def test_tasks_are_drawn_as_they_are_needed() -> None:
    """One ahead at most, also beside lost ones: a run of any size has few in memory."""
    queue = Queue()
    assert queue.queue.has_more(queue.is_over)
    assert queue.ask("a", "b") == 0
    assert queue.drawn == 1
    queue.lose(0, "a")
    assert queue.queue.first("a", ["b"], queue.is_over, is_held=False) == queue.tasks[1]
    assert queue.ask("a", "b") == 1
    assert queue.drawn == 2


def test_a_queue_begins_with_its_first_task_that_came_back() -> None:
    """Done or failed, at home or where it then is; one with a home has begun elsewhere before."""
    queue = Queue()
    mine = queue.queue
    assert (mine.block, mine.affinity, mine.in_flight) == (CellBlock("cpu", None, ()), None, 0)
    assert (mine.has_begun, mine.stuck_s, mine.avoided) == (False, None, set())
    assert [queue.ask("a", "b"), queue.ask("b", "a")] == [0, 1]
    assert mine.in_flight == 2
    queue.lose(0, "a")
    assert (mine.in_flight, mine.has_begun) == (1, False)
    mine.give_back(queue.tasks[1], "b", again=False, is_lost=True)
    assert (mine.in_flight, mine.has_begun) == (0, True)
    assert queue.ask("b", "a") == 0
    queue.lose(0, "b")
    assert mine.has_begun, "what was done stays done"
    begun = Queue("latency", affinity="a").queue
    assert (begun.affinity, begun.has_begun) == ("a", True)


def test_where_a_task_was_lost_is_known_until_it_is_done() -> None:
    """Lost by hosts that spoil it; not where it did not fit, and not once its cell is over."""
    queue = Queue()
    first = queue.tasks[0]
    assert queue.ask("a", "b") == 0
    queue.queue.give_back(first, "a", again=True, is_lost=False)
    assert queue.queue.lost_on(first) == frozenset()
    for host in ("a", "b"):
        assert queue.ask(host) == 0
        queue.lose(0, host)
    assert queue.queue.lost_on(first) == {"a", "b"}
    assert queue.ask("c") == 0
    queue.queue.give_back(first, "c", again=False, is_lost=True)
    assert queue.queue.lost_on(first) == frozenset()
    assert queue.ask("a") == 1
    queue.queue.give_back(queue.tasks[1], "a", again=False, is_lost=True)  # was never lost
    assert queue.ask("a") == 2
    queue.lose(2, "a")
    queue.over = {"cell"}
    assert not queue.queue.has_more(queue.is_over)
    assert queue.queue.lost_on(queue.tasks[2]) == frozenset()


def test_of_what_waits_only_cells_that_are_over_are_dropped() -> None:
    """From the front, whether they were lost or only drawn."""
    queue = Queue()
    assert [queue.ask("a"), queue.ask("a"), queue.ask("a")] == [0, 1, 2]
    queue.queue.give_back(queue.tasks[1], "a", again=True, is_lost=False)
    queue.queue.give_back(queue.tasks[0], "a", again=True, is_lost=False)
    queue.over = {"cell"}
    assert queue.queue.has_more(queue.is_over)
    assert queue.ask("a") == 1
    assert not queue.queue.has_more(queue.is_over)


def test_what_waits_behind_a_cell_that_is_over() -> None:
    """It is passed over, not only the first time."""
    queue = Queue()
    assert [queue.ask("a"), queue.ask("a"), queue.ask("a")] == [0, 1, 2]
    for shard in (1, 2, 0):
        queue.queue.give_back(queue.tasks[shard], "a", again=True, is_lost=False)
    queue.over = {"cell"}
    assert queue.ask("a") == 1


def test_a_queue_that_starts_anew_knows_nothing_of_before() -> None:
    """Any host may take it, its first task first, lost nowhere."""
    queue = Queue("latency", affinity="a")
    assert queue.ask("a") == 0
    queue.lose(0, "a")
    queue.queue.stuck_s = 3.0
    queue.queue.restart(iter([queue.tasks[1], queue.tasks[0]]))
    mine = queue.queue
    assert (mine.affinity, mine.has_begun, mine.stuck_s) == (None, False, None)
    assert mine.lost_on(queue.tasks[0]) == frozenset()
    assert [queue.ask("b", "c") for _ in range(3)] == [1, 0, None]
