"""What was not measured is NULL in its row: no row of another figure leaves with it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.storage.in_memory import InMemory

EARLY: dict[str, Any] = {"model": "early", "exit_blocks": (1,)}

MODEL = {"model": ["early"]}
QUESTIONS: dict[str, tuple[dict[str, int], dict[str, list[Any]]]] = {
    "summary": ({}, MODEL),
    "choosable": ({}, MODEL),
    "exit_histogram": ({}, {"exit_block": [1, 3]}),
    "curve": ({"most": 9, "undominated": 0}, {"mean_blocks": [2.0, 3.0, 4.0]}),
}
"""Named queries: their parameters, and a column with the values that it has if all is measured."""


def _make(build: InMemory, *, has_costs: bool) -> None:
    """A pass over two images; neither routed nor with power, and forced to each exit or not."""
    both: dict[str, Any] = {"image_id": [0, 1, 0, 1], "exit_block": [1, 1, 3, 3]}
    scores = [0.9, 0.1, None, None]
    passes = build.cell("exits", **EARLY)
    build.commit(passes, exits={**both, "gate_score": scores, "is_correct": True})
    if has_costs:
        build.commit(build.cell("exit_costs", **EARLY), exit_costs={**both, "forward_ms": 1.0})
    build.store()


@pytest.mark.parametrize("question", QUESTIONS)
def test_a_question_about_accuracy_needs_nothing_else(in_memory: InMemory, question: str) -> None:
    """No latency, no exit costs, no power."""
    _make(in_memory, has_costs=False)
    parameters, expected = QUESTIONS[question]
    of_run = {} if question == "summary" else {"run_id": "run-1"}
    rows = in_memory.named(question, **of_run, **parameters)
    assert {name: sorted(row[name] for row in rows) for name in expected} == expected


@pytest.mark.parametrize("has_costs", [True, False])
def test_what_cannot_be_composed_has_a_row_with_the_reason(
    in_memory: InMemory, *, has_costs: bool
) -> None:
    """Latency and energy at a threshold: each for itself."""
    _make(in_memory, has_costs=has_costs)
    (latency,) = in_memory.query("FROM composed_latency('run-1', [0.5])")
    assert latency["forward_ms"] == (1.0 if has_costs else None)
    assert latency["note"] == (
        "no routed threshold confirms the exit costs"
        if has_costs
        else "exit costs were not measured at batch 1 (measure: [exit_costs])"
    )
    (energy,) = in_memory.query("FROM composed_energy('run-1', [0.5])")
    assert energy["energy_mj"] is None
    assert "energy by exit was not measured" in energy["note"]
