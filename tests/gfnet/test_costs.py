"""Multiply-adds and parameters by exit, against hand-worked numbers and torch's own counter."""

from __future__ import annotations

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

import gfnet
from gfnet.config import VARIANTS, ModelConfig
from gfnet.costs import count_exit_costs
from gfnet.runtimes.stages import Stage, cut, with_matrix_filters

SMALL = {"img_size": 32, "num_classes": 10}
CONFIGS = [
    ModelConfig("gfnet", patch_size=8, embed_dim=6, depth=2, **SMALL),
    ModelConfig("gfnet-dynn", patch_size=4, embed_dim=6, depth=4, exit_blocks=(0, 2), **SMALL),
    ModelConfig(
        "gfnet-distil-dynn", patch_size=8, embed_dim=4, depth=4, exit_blocks=(1, 2), **SMALL
    ),
    ModelConfig(
        "gfnet-h", embed_dims=(4, 6, 8, 10), depths=(1, 2, 1, 1), exit_blocks=(1, 3), **SMALL
    ),
    ModelConfig("gfnet-dynn", embed_dim=4, depth=3, exit_blocks=(1,), has_gates=False, **SMALL),
]


def _counted(stage: Stage) -> int:
    """Multiply-adds of matrix products and convolutions of one image, by torch's counter."""
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        stage(torch.zeros(1, *stage.entering_shape))
    return counter.get_total_flops() // 2


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: config.family)
def test_torch_counts_the_same_products(config: ModelConfig) -> None:
    """Matrix products and convolutions of each stage; the filters and gates are elementwise too."""
    model = with_matrix_filters(gfnet.model.build(config))
    costs = count_exit_costs(config, config.default_rule)
    expected, counted = [], 0
    for stage in cut(model):
        counted += _counted(stage)
        for block in range(stage.first, stage.last + 1):
            level = config.level_of(block)
            rows, columns = level.grid
            counted += 2 * (rows // 2 + 1) * 2 * columns * level.dim
        counted += 4 if stage.has_gate and config.has_gates else 0
        expected.append(counted)
    assert [cost.matrix_multiply_adds for cost in costs] == expected
    assert [cost.block for cost in costs] == [*config.exit_blocks, config.last_block]


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: config.family)
def test_parameters_are_those_with_a_gradient(config: ModelConfig) -> None:
    """An image that leaves at an exit meets exactly the parameters that its outputs depend on."""
    model = gfnet.model.build(config)
    tokens = torch.rand(1, 3, config.img_size, config.img_size)
    reached = torch.zeros(())
    costs = count_exit_costs(config, config.default_rule)
    for ends, cost in zip(model.stage_ends(), costs, strict=True):
        tokens, *answers = [*model.stage(*ends, tokens), torch.zeros(())]
        reached = reached + sum(each.sum() for each in answers) + tokens.sum()
        model.zero_grad(set_to_none=True)
        reached.backward(retain_graph=True)
        met = [name for name, each in model.named_parameters() if each.grad is not None]
        assert cost.params == sum(model.get_parameter(name).numel() for name in met)


def test_hand_worked() -> None:
    """One block of 2 channels on 2 x 2 tokens."""
    config = ModelConfig("gfnet", img_size=4, patch_size=2, embed_dim=2, depth=1, num_classes=3)
    (cost,) = count_exit_costs(config, "gate")
    others = 4 * 12 * 2 + 2 * 4 * 2 * 2 * 4 + 2 * 3  # patches, MLP, head
    assert cost.multiply_adds == others + 2 * (20 + 4 * 2 * 2)  # 2.5 * 4 * log2 4 = 20
    assert cost.matrix_multiply_adds == others + 2 * (2 * 16 + 3 * 2 * 16 + 2 * 2 * 4)
    assert cost.params == config.parameters()


def test_published_models() -> None:
    """Rao et al., table 2: 1.3, 2.9, 4.5 and 7.9 billion for the flat family."""
    found = {
        name: count_exit_costs(VARIANTS[name], "gate")[-1].multiply_adds / 1e9
        for name in ("gfnet-ti", "gfnet-xs", "gfnet-s", "gfnet-b")
    }
    expected = {"gfnet-ti": 1.3, "gfnet-xs": 2.9, "gfnet-s": 4.5, "gfnet-b": 7.9}
    assert found == pytest.approx(expected, abs=0.06)


def test_gates_run_under_their_rule_alone() -> None:
    """Under another rule no image meets a gate: 5 parameters and 4 multiply-adds each."""
    config = CONFIGS[1]
    gated, plain = (count_exit_costs(config, rule) for rule in ("gate", "margin"))
    for number, (with_gate, without) in enumerate(zip(gated, plain, strict=True)):
        gates = min(number + 1, 2)
        assert with_gate.params - without.params == 5 * gates
        assert with_gate.multiply_adds - without.multiply_adds == 4 * gates
