"""Composed latency: exit costs mixed by who leaves where, held against the clock."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.storage.in_memory import InMemory

EARLY: dict[str, Any] = {"model": "early", "exit_blocks": (1,)}


@pytest.fixture
def build(in_memory: InMemory) -> InMemory:
    """Give a builder of one run, to be asked."""
    return in_memory


def _run(build: InMemory, routed_ms: Sequence[float], costs_ms: Sequence[Sequence[float]]) -> None:
    """An all-exit pass, one threshold routed, and what leaving at each of two exits costs.

    Of the images routed at 0.5 the first leaves after block 1 and the others after block 3.
    """
    images = len(routed_ms)
    scores = [0.9, *[0.1] * (images - 1)]
    passes = build.cell("exits", batch_size=64, **EARLY)
    build.commit(
        passes,
        exits={
            "image_id": [*range(images), *range(images)],
            "exit_block": [1] * images + [3] * images,
            "gate_score": [*scores, *[None] * images],
            "is_correct": True,
        },
    )
    routed = build.cell("latency", threshold=0.5, **EARLY)
    build.commit(
        routed,
        records={
            "round": 0,
            "image_id": list(range(images)),
            "exit_block": [1, *[3] * (images - 1)],
            "is_correct": True,
            "forward_ms": list(routed_ms),
        },
    )
    costs = build.cell("exit_costs", **EARLY)
    build.commit(
        costs,
        exit_costs={
            "round": 0,
            "image_id": [image for exit_ms in costs_ms for image in range(len(exit_ms))],
            "exit_block": [b for b, ms in zip((1, 3), costs_ms, strict=False) for _ in ms],
            "forward_ms": [ms for exit_ms in costs_ms for ms in exit_ms],
        },
    )
    build.store()


def _rows(build: InMemory, question: str) -> list[dict[str, Any]]:
    return build.query(f"from {question}")


def test_a_mixture_by_hand(build: InMemory) -> None:
    """One image at 1 ms, three at 3 ms: 2.5 ms, as routed; then each threshold has a latency."""
    _run(build, [1.1, 3.0, 3.0, 2.9], [[0.9, 1.1], [2.0, 4.0]])
    (check,) = _rows(build, "composition('run-1')")
    assert check["routes"] == 4
    assert check["forward_ms"] == pytest.approx(2.5)
    assert check["composed_ms"] == pytest.approx(2.5)
    assert check["error_pct"] == pytest.approx(0, abs=1e-9)
    assert check["is_within"]
    (costs,) = _rows(build, "trusted_exit_costs('latest')")
    assert (costs["exit_ms"], costs["note"]) == ([1.0, 3.0], None)
    points = {row["threshold"]: row["forward_ms"] for row in _rows(build, "frontier('run-1')")}
    assert sorted(points.values()) == pytest.approx([1.0, 2.5, 3.0])
    assert points[float("inf")] == pytest.approx(3.0)


@pytest.mark.parametrize(("factor", "is_within"), [(1.019, True), (1.021, False), (0.979, False)])
def test_beyond_the_tolerance_nothing_is_composed(
    build: InMemory, factor: float, *, is_within: bool
) -> None:
    """2 % of the mean; then what-ifs are refused, with the reason."""
    _run(build, [2.5] * 4, [[1.0 * factor], [3.0 * factor]])
    (check,) = _rows(build, "composition('run-1')")
    assert check["error_pct"] == pytest.approx(100 * (factor - 1))
    assert check["is_within"] == is_within
    (costs,) = _rows(build, "trusted_exit_costs('run-1')")
    assert (costs["exit_ms"] is not None) == is_within
    if not is_within:
        assert "a routed mean latency is missed by" in costs["note"]
        assert f"{100 * (factor - 1):+.1f} %, more than 2 %" in costs["note"]
        assert {row["forward_ms"] for row in _rows(build, "frontier('run-1')")} == {None}


def test_an_exit_without_a_cost_leaves_all_unknown(build: InMemory) -> None:
    """And says what to measure."""
    _run(build, [2.5] * 4, [[1.0]])
    (costs,) = _rows(build, "trusted_exit_costs('run-1')")
    assert costs["exit_ms"] is None
    assert "measure: [exit_costs]" in costs["note"]
    assert _rows(build, "composition('run-1')") == []


def test_costs_that_nothing_confirms_are_said_to_be_so(build: InMemory) -> None:
    """A run that routed no threshold."""
    passes = build.cell("exits", **EARLY)
    columns = {"exit_block": [1, 3], "gate_score": [0.5, None], "is_correct": True}
    build.commit(passes, exits={"image_id": [0, 0], **columns})
    costs = build.cell("exit_costs", **EARLY)
    columns = {"exit_block": [1, 3], "forward_ms": [1.0, 2.0]}
    build.commit(costs, exit_costs={"round": 0, "image_id": [0, 0], **columns})
    build.store()
    (row,) = _rows(build, "trusted_exit_costs('run-1')")
    assert row["exit_ms"] == [1.0, 2.0]
    assert row["note"] == "no routed threshold confirms the exit costs"


def test_throttled_rounds_count_nowhere(build: InMemory) -> None:
    """Neither among the routed nor among the forced ones."""
    _run(build, [2.5] * 4, [[1.0], [3.0]])
    other = build.beside("run-2")
    passes = other.cell("exits", **EARLY)
    columns = {"exit_block": [1, 3], "gate_score": [0.5, None], "is_correct": True}
    other.commit(passes, exits={"image_id": [0, 0], **columns})
    costs = other.cell("exit_costs", rounds=2, **EARLY)
    for number, slow in enumerate((1.0, 9.0)):
        other.commit(
            costs,
            number,
            exit_costs={
                "round": number,
                "image_id": [0, 0],
                "exit_block": [1, 3],
                "forward_ms": [1.0 * slow, 2.0 * slow],
            },
            rounds={"round": number, "is_throttled": slow > 1},
        )
    other.store()
    rows = _rows(build, "trusted_exit_costs('run-2')")
    assert rows[0]["exit_ms"] == [1.0, 2.0]


def test_a_mixture_of_any_thresholds_has_percentiles(build: InMemory) -> None:
    """Half leave at once: the mixture of 1..100 ms and 101..200 ms, by hand."""
    images = 100
    passes = build.cell("exits", **EARLY)
    build.commit(
        passes,
        exits={
            "image_id": [*range(images), *range(images)],
            "exit_block": [1] * images + [3] * images,
            "gate_score": [0.2, 0.8] * (images // 2) + [None] * images,
            "is_correct": True,
        },
    )
    costs = build.cell("exit_costs", **EARLY)
    build.commit(
        costs,
        exit_costs={
            "round": 0,
            "image_id": [*range(images), *range(images)],
            "exit_block": [1] * images + [3] * images,
            "forward_ms": [float(ms) for ms in range(1, 2 * images + 1)],
        },
    )
    build.store()
    (half,) = _rows(build, "composed_latency('run-1', [0.5])")
    assert half["exit_shares"] == [0.5, 0.5]
    assert half["samples"] == images
    assert half["forward_ms"] == pytest.approx(100.5)
    assert (half["p50_ms"], half["p90_ms"], half["p99_ms"]) == (100, 180, None)
    (none,) = _rows(build, "composed_latency('latest', [0.9])")
    assert (none["forward_ms"], none["p50_ms"]) == (pytest.approx(150.5), 150)
    (every,) = _rows(build, "composed_latency('latest', [0])")
    assert (every["forward_ms"], every["p90_ms"]) == (pytest.approx(50.5), 90)


def test_no_latency_is_composed_of_costs_that_are_not_trusted(build: InMemory) -> None:
    """The row is there, with the reason."""
    _run(build, [2.5] * 4, [[1.1], [3.3]])
    (row,) = _rows(build, "composed_latency('run-1', [0.5])")
    assert (row["forward_ms"], row["p50_ms"], row["samples"]) == (None, None, None)
    assert "is missed by +10.0 %" in row["note"]


def test_an_image_that_was_not_timed_everywhere_is_no_sample(build: InMemory) -> None:
    """Or an exit would be mixed of other images than its neighbours."""
    passes = build.cell("exits", **EARLY)
    columns = {"exit_block": [1, 3], "gate_score": [0.5, None], "is_correct": True}
    build.commit(passes, exits={"image_id": [0, 0], **columns})
    costs = build.cell("exit_costs", **EARLY)
    columns = {"exit_block": [1, 3, 1], "forward_ms": [1.0, 2.0, 7.0]}
    build.commit(costs, exit_costs={"round": 0, "image_id": [0, 0, 1], **columns})
    build.store()
    assert [row["exit_ms"] for row in _rows(build, "exit_samples('run-1')")] == [[1.0, 2.0]]
