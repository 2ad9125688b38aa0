"""What hosts show of their pace: planted speeds are found, whatever each has done."""

from __future__ import annotations

import pytest

from jobs.driver.pace import Paces, Sort

CHEAP, DEAR = (Sort("exits", model, "torch", "float32", 1, 64) for model in ("cheap", "dear"))


def test_a_host_that_has_done_nothing_has_no_pace() -> None:
    """Nor has one of which nothing was heard but a task without images."""
    paces = Paces()
    assert paces.pace("a") is None
    assert paces.fastest() is None
    paces.observe("a", CHEAP, 0, 1.0)
    paces.observe("a", CHEAP, 10, 0.0)
    assert paces.pace("a") is None


@pytest.mark.parametrize("factor", [4.0, 0.25])
def test_a_host_that_did_dear_tasks_alone_does_not_look_slow(factor: float) -> None:
    """What a sort costs is learned from a host that did both; then both paces are as planted."""
    paces = Paces()
    for _ in range(40):
        paces.observe("both", CHEAP, 1000, 10.0)
        paces.observe("both", DEAR, 1000, 10.0 * factor)
        paces.observe("dear", DEAR, 1000, 5.0 * factor)
    both, dear = paces.pace("both"), paces.pace("dear")
    assert both is not None
    assert dear is not None
    assert both / dear == pytest.approx(2.0, rel=0.05)
    assert paces.work({DEAR: 1}) / paces.work({CHEAP: 1}) == pytest.approx(factor, rel=0.05)
    assert paces.fastest() == dear


def test_a_board_that_gets_hot_is_slow_from_now_on() -> None:
    """What it showed before counts less with each task."""
    paces = Paces()
    for _ in range(20):
        paces.observe("a", CHEAP, 1000, 1.0)
    cool = paces.pace("a")
    for _ in range(20):
        paces.observe("b", CHEAP, 1000, 1.0)
        paces.observe("a", CHEAP, 1000, 2.0)
    hot, other = paces.pace("a"), paces.pace("b")
    assert cool is not None
    assert hot is not None
    assert other is not None
    assert hot / other > 1.7


def test_nothing_is_learned_from_served_images() -> None:
    """A round lasts as long as requests arrive, on a slow board as on a fast one."""
    paces = Paces()
    served = CHEAP._replace(kind="serving")
    for host, seconds in (("fast", 1.0), ("slow", 9.0)):
        paces.observe(host, CHEAP, 1000, seconds)
        for _ in range(10):
            paces.observe(host, served, 100, 60.0)
    fast, slow = paces.pace("fast"), paces.pace("slow")
    assert fast is not None
    assert slow is not None
    assert slow / fast == pytest.approx(9.0)
