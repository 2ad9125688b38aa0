"""Which host ends a block first, and whether others end all that waits: on numbers by hand."""

from __future__ import annotations

import itertools
import random

import pytest

from jobs.driver.forecast import BlockForecast, HostForecast, is_ended_sooner, part_blocks

BOARDS = [HostForecast(0.0, 1.0), HostForecast(0.0, 1 / 4), HostForecast(0.0, 1 / 16)]


def ends(blocks: list[BlockForecast], hosts: list[HostForecast], found: list[int]) -> float:
    """When the last host ends."""
    sums = [host.free_s for host in hosts]
    for block, host in zip(blocks, found, strict=True):
        sums[host] += block.work_on(host) * hosts[host].pace
    return max(sums)


@pytest.mark.parametrize("seed", range(20))
def test_blocks_end_within_a_tenth_of_the_best(seed: int) -> None:
    """Of all ways to part seven blocks among boards of speeds 1, 4 and 16."""
    draw = random.Random(seed)  # noqa: S311 - no secret
    blocks = [BlockForecast(draw.uniform(1, 10), (0, 1, 2)) for _ in range(7)]
    ways = itertools.product(range(3), repeat=len(blocks))
    best = min(ends(blocks, BOARDS, list(way)) for way in ways)
    assert ends(blocks, BOARDS, part_blocks(blocks, BOARDS, 1.1)) <= 1.1 * best


def test_a_block_goes_to_none_but_those_that_are_able() -> None:
    """However fast another is, and however much those have."""
    blocks = [BlockForecast(5.0, (0,)), BlockForecast(4.0, (0, 1)), BlockForecast(3.0, (0,))]
    assert part_blocks(blocks, BOARDS, 1.1) == [0, 1, 0]


def test_what_a_host_has_counts() -> None:
    """The slower one that is free ends it before the faster one begins."""
    hosts = [HostForecast(0.0, 1.0), HostForecast(20.0, 0.1)]
    assert part_blocks([BlockForecast(10.0, (0, 1))], hosts, 1.1) == [0]
    assert part_blocks([BlockForecast(30.0, (0, 1))], hosts, 1.1) == [1]


@pytest.mark.parametrize(("left", "expected"), [(10.0, 1), (2.6, 0), (2.8, 1)])
def test_a_block_that_has_begun_leaves_for_a_clear_gain_alone(left: float, expected: int) -> None:
    """Its host has `left` to do at pace 1, the other all ten at a quarter: 2.5."""
    block = BlockForecast(10.0, (0, 1), at=0, left=left)
    assert part_blocks([block], BOARDS, 1.1) == [expected]


def test_a_begun_block_stays_before_larger_ones_that_may_come() -> None:
    """What is parted now comes after it on its own host."""
    begun = BlockForecast(4.0, (0, 1), at=0, left=3.0)
    larger = [BlockForecast(5.0, (0,)) for _ in range(3)]
    assert part_blocks([begun, *larger], [BOARDS[0], HostForecast(2.9, 0.25)], 1.1)[0] == 0


def test_equal_hosts_do_not_wait_for_each_other() -> None:
    """One task: each of two free boards would end it at the same time as the other."""
    assert not is_ended_sooner(1, 1.0, BOARDS[0].end_s(1.0), [BOARDS[0]])


def test_the_last_tasks_are_left_to_a_faster_board() -> None:
    """It ends 15 tasks while the slow one does one, but no 16; what it has before it counts."""
    slow, fast = BOARDS[0], BOARDS[2]
    assert is_ended_sooner(15, 1.0, slow.end_s(1.0), [fast])
    assert not is_ended_sooner(16, 1.0, slow.end_s(1.0), [fast])
    busy = HostForecast(0.5, 1 / 16)
    assert is_ended_sooner(7, 1.0, slow.end_s(1.0), [busy])
    assert not is_ended_sooner(8, 1.0, slow.end_s(1.0), [busy])
    assert is_ended_sooner(14, 1.0, slow.end_s(1.0), [HostForecast(0.5, 1 / 16, runs=2)])
