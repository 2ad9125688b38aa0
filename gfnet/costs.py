"""Counts what an image costs that leaves at each exit: multiply-adds and parameters.

Needs no torch: a plan counts without loading a model.
"""

from __future__ import annotations

import math
from itertools import accumulate
from typing import NamedTuple

from gfnet.config import GATE_FEATURES, MLP_RATIO, BlockLevel, ModelConfig

_FFT_FLOP = 2.5
"""Operations of a real Fourier transform of n values over n log2 n: the convention of FFTW's
benchmarks (Frigo and Johnson, Proc. IEEE 2005)."""


class ExitCost(NamedTuple):
    """What one image costs up to an exit, all exits before it included.

    Counted are convolutions, linear layers, filters and gates; norms, GELU, softmax, additions and
    residuals are not, as is usual.

    Attributes:
        block: the block that the exit follows.
        multiply_adds: with filters by a fast Fourier transform, as published.
        matrix_multiply_adds: with filters by matrix products, as every engine but eager float32
            runs them.
        params: parameters that the image meets; heads of exits that are not enabled do not count.
    """

    block: int
    multiply_adds: int
    matrix_multiply_adds: int
    params: int


def count_exit_costs(config: ModelConfig, exit_rule: str) -> tuple[ExitCost, ...]:
    """Count the cost of each enabled exit, the last block's included, in their order.

    Args:
        config: the model's sizes and exits.
        exit_rule: of EXIT_RULES, by which its images exit: only `gate` runs the gates.
    """
    exits = (*config.exit_blocks, config.last_block)
    firsts = (0, *(block + 1 for block in config.exit_blocks))
    shapes = {name: math.prod(shape) for name, shape in config.state_shapes().items()}
    met: set[str] = set()
    stages = []
    for first, last in zip(firsts, exits, strict=True):
        prefixes = _parts(config, first, last, has_gate=exit_rule == "gate")
        met |= {name for name in shapes if name.startswith(prefixes)}
        others = _others_multiply_adds(config, first, last, has_gate=exit_rule == "gate")
        levels = [config.level_of(block) for block in range(first, last + 1)]
        stages.append(
            (
                others + sum(map(_fourier_multiply_adds, levels)),
                others + sum(map(_matrix_multiply_adds, levels)),
                sum(shapes[name] for name in met),
            )
        )
    fourier, matrix, params = zip(*stages, strict=True)
    return tuple(map(ExitCost, exits, accumulate(fourier), accumulate(matrix), params))


def _parts(config: ModelConfig, first: int, last: int, *, has_gate: bool) -> tuple[str, ...]:
    """Return how the names of the tensors begin that one stage adds."""
    blocks = range(first, last + 1)
    parts = [f"{config.block_name(block)}." for block in blocks]
    if not config.is_hierarchical:
        parts += [] if first else ["patch_embed."]
    else:
        starts = enumerate(config.levels)
        parts += [f"patch_embed.{stage}." for stage, level in starts if level.first in blocks]
    parts += [] if first else ["pos_embed", "cls_token", "dist_token"]
    if last == config.last_block:
        return (*parts, "norm.", "head.", "head_dist.")
    number = config.exit_numbers[last]
    parts += [f"intermediate_norms.{number}."] if config.is_hierarchical else ["norm."]
    parts += [f"intermediate_heads.{number}.", f"intermediate_heads_dist.{number}."]
    return (*parts, *([f"gates.{number}."] if has_gate else []))


def _others_multiply_adds(config: ModelConfig, first: int, last: int, *, has_gate: bool) -> int:
    """Count one stage without its filters."""
    total = 0
    for block in range(first, last + 1):
        level = config.level_of(block)
        tokens, dim = level.tokens_shape
        total += 2 * MLP_RATIO * dim * dim * tokens
        if block == level.first:
            total += _embed_multiply_adds(config, level)
    heads = 2 if config.has_tokens else 1
    total += heads * config.level_of(last).dim * config.num_classes
    return total + (GATE_FEATURES if has_gate and last != config.last_block else 0)


def _embed_multiply_adds(config: ModelConfig, level: BlockLevel) -> int:
    """Count the projection of patches, or of 2 x 2 tokens, before the first block of a level."""
    if not level.first:
        return config.patches**2 * 3 * config.patch_size**2 * level.dim
    before = config.level_of(level.first - 1)
    return level.tokens_shape[0] * before.dim * 2 * 2 * level.dim


def _fourier_multiply_adds(level: BlockLevel) -> int:
    """Count one filter by two real Fourier transforms and a complex product."""
    rows, columns = level.grid
    tokens, dim = level.tokens_shape
    transforms = 2 * _FFT_FLOP / 2 * tokens * math.log2(tokens)
    return dim * (round(transforms) + 4 * rows * (columns // 2 + 1))


def _matrix_multiply_adds(level: BlockLevel) -> int:
    """Count one filter as `gfnet.filter.MatrixFilter` computes it."""
    rows, columns = level.grid
    half = rows // 2 + 1
    along_rows = 2 * (2 * half * rows * columns)
    along_columns = 3 * half * (2 * columns) ** 2
    return level.dim * (along_rows + along_columns + 2 * half * 2 * columns)
