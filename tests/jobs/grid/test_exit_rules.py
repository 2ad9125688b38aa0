"""The axis of exit rules: which models it makes, with which thresholds, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import gfnet
import storage
from jobs.analysis.certificate import certify
from jobs.analysis.regressions.remeasure import narrow_grid
from jobs.analysis.thresholds.choose import Limits, read_pass, write_thresholds
from jobs.common.errors import BadInputError, UsageError
from jobs.grid.grid import Grid
from jobs.plan.plan import Plan

HEAD = "models: [flat.safetensors, dynn.safetensors]\ndatasets: [{name: digits, limit: 9}]\n"
ALL = f"exit_rules: [{', '.join(gfnet.EXIT_RULES)}]\n"


def routed(plan: Plan) -> dict[str, set[tuple[float, ...]]]:
    """The thresholds of the routed cells, by model."""
    found: dict[str, set[tuple[float, ...]]] = {}
    for cell in plan.cells:
        if cell.kind == "latency":
            found.setdefault(cell.model.name, set()).add(cell.thresholds)
    return found


def test_a_model_under_another_rule_is_another_model(plan_of: Callable[[str], Plan]) -> None:
    """A static model is there once. A list holds for every rule but patience; its default is 2."""
    plan = plan_of(f"{HEAD}{ALL}thresholds: [0.25, {{start: 0, stop: 1, num: 5}}]\n")
    assert routed(plan) == {
        "flat": {()},
        "dynn": {(0.25, 0.25)},
        "dynn@max_prob": {(0.25, 0.25)},
        "dynn@margin": {(0.25, 0.25)},
        "dynn@entropy": {(0.25, 0.25)},
        "dynn@patience": {(2.0, 2.0)},
    }
    assert plan.count("exits") == 6
    assert plan.points == 5 + 4 * 5 + 1 + 1  # the static model is under all of them


def test_each_rule_may_have_its_own_thresholds(plan_of: Callable[[str], Plan]) -> None:
    """Rules that the mapping leaves out have their default; ranges are answered, not routed."""
    plan = plan_of(
        f"{HEAD}exit_rules: [gate, margin, patience]\n"
        "thresholds: {gate: [0.5, [0.5, 0.25]], patience: [3, {start: 1, stop: 4, num: 4}]}\n"
    )
    assert routed(plan) == {
        "flat": {()},
        "dynn": {(0.5, 0.5), (0.5, 0.25)},
        "dynn@margin": {(0.5, 0.5)},
        "dynn@patience": {(3.0, 3.0)},
    }


def test_ids_without_the_axis_stay(plan_of: Callable[[str], Plan]) -> None:
    """A cell under the gate is the cell that it was before there was a choice."""
    before = {cell.cell_id for cell in plan_of(HEAD).cells}
    after = [cell.cell_id for cell in plan_of(HEAD + ALL).cells]
    assert before < set(after)
    assert len(set(after)) == len(after)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("exit_rules: [confidence]\n", "unknown exit rule 'confidence'"),
        ("exit_rules: [gate]\nthresholds: {margin: [0.5]}\n", "thresholds.margin: unknown key"),
        ("exit_rules: [patience]\nthresholds: {patience: [0.5]}\n", "a number from 1 to 1000"),
        ("exit_rules: [margin]\nthresholds: {margin: [1.5]}\n", "a number from 0 to 1"),
    ],
)
def test_what_is_refused(
    text: str, said: str, write_grid: Callable, read: Callable[[Path], Grid]
) -> None:
    """With what is allowed."""
    with pytest.raises(BadInputError) as caught:
        read(write_grid(HEAD + text))
    assert said in str(caught.value)


def test_rules_need_exits(write_grid: Callable, read: Callable[[Path], Grid]) -> None:
    """Of a static model alone they would mean nothing."""
    static = HEAD.replace(", dynn.safetensors", "")
    with pytest.raises(BadInputError, match="no model here has exits"):
        read(write_grid(f"{static}exit_rules: [margin]\n"))


def test_suspects_are_measured_again_under_their_rule(
    write_grid: Callable, read: Callable[[Path], Grid]
) -> None:
    """Only these rules, with their thresholds."""
    grid = read(
        write_grid(
            f"{HEAD}exit_rules: [gate, margin, patience]\n"
            "thresholds: {gate: [0.5], margin: [0.25]}\n"
        )
    )
    cell = {
        "model": "dynn@margin",
        "dataset": grid.datasets[0].label,
        "device": "any",
        "runtime": "torch",
        "precision": "float32",
        "threads": 0,
    }
    again = read(write_grid(narrow_grid(grid, [cell], None)))
    assert [model.name for model in again.models] == ["dynn@margin"]
    assert [threshold.values for threshold in again.thresholds] == [(0.25,)]


def test_suspects_of_rounds_until_known_get_a_number(write_grid: Callable, read: Callable) -> None:
    """Twice the rounds that the night ran: what confirms must not end when it agrees."""
    grid: Grid = read(write_grid(f"{HEAD}latency: {{until: 1%, rounds: {{min: 4, max: 20}}}}\n"))
    cell = {
        "model": "flat",
        "dataset": grid.datasets[0].label,
        "device": "any",
        "runtime": "torch",
        "precision": "float32",
        "threads": 0,
        "rounds": 8,
    }
    again = read(write_grid(narrow_grid(grid, [cell], None)))
    assert (again.latency.until, again.latency.rounds) == (None, 16)


RUN = f"""\
{HEAD}{ALL}thresholds: [0.4]
threads: [1]
batch_sizes: {{accuracy: 1}}
latency: {{rounds: 1, warmup_images: 2, images: 9}}
"""


def test_every_rule_is_routed_as_it_is_replayed(ran: Callable[[str], Path]) -> None:
    """On every engine: tests/integration/test_exit_rules.py; only a gate's go into a checkpoint."""
    root = ran(RUN)
    certificate = certify(root, "r")
    assert certificate.is_clean, certificate.text
    cells = storage.query(root, "FROM cells WHERE kind = 'latency' ORDER BY position").to_pylist()
    rules = {cell["model"]: cell["exit_rule"] for cell in cells}
    others = {f"dynn@{rule}": rule for rule in gfnet.EXIT_RULES if rule != "gate"}
    assert rules == {"flat": None, "dynn": "gate", **others}
    # The pass under the gate answers the other rules too; so do their own.
    replayed = "SELECT acc1, mean_blocks FROM at_threshold(0.4, rule := 'margin')"
    own = "SELECT acc1, mean_blocks FROM at_threshold(0.4) WHERE model = 'dynn@margin'"
    (found,) = storage.query(
        root, f"{replayed} WHERE model = 'dynn' AND runtime = 'torch'"
    ).to_pylist()
    assert found == storage.query(root, f"{own} AND runtime = 'torch'").to_pylist()[0]
    narrowing = {"model": "dynn@margin", "runtime": "torch"}
    cell = read_pass(root, "r", Limits(max_drop=50), narrowing).cell
    with pytest.raises(UsageError, match="thresholds for one exit rule, not for margin"):
        write_thresholds(root, "r", cell, (0.5, 0.5), root / "c.safetensors")


def test_exits_without_gates_have_another_rule_of_their_own(
    write_grid: Callable, read: Callable[[Path], Grid], tmp_path: Path
) -> None:
    """Under its own name; the gate is refused, and what else there is stands there."""
    torch.manual_seed(0)
    sizes = {"img_size": 8, "patch_size": 2, "embed_dim": 8, "num_classes": 10}
    bare = gfnet.create("gfnet-dynn", depth=3, exit_blocks=(0, 1), has_gates=False, **sizes)
    gfnet.save_checkpoint(bare, tmp_path / "bare.safetensors")
    head = "models: [bare.safetensors]\ndatasets: [{name: digits, limit: 9}]\n"
    (model,) = read(write_grid(head)).models
    assert (model.name, model.exit_rule) == ("bare", "max_prob")
    grid = read(write_grid(f"{head}exit_rules: [max_prob, margin]\n"))
    assert [model.name for model in grid.models] == ["bare", "bare@margin"]
    with pytest.raises(BadInputError, match="bare have no gates for the exit rule gate"):
        read(write_grid(f"{head}exit_rules: [gate, margin]\n"))
