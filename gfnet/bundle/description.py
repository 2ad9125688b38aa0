"""Describes a bundle's model with the chosen exits, by the names that a checkpoint's data has."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate
from typing import NamedTuple

from gfnet.bundle.errors import BundleError
from gfnet.bundle.manifest import BundleManifest, StageEntry
from gfnet.preprocess import Preprocessing


@dataclass(frozen=True)
class BundleConfig:
    """Exits and classes of a bundle's model, named as in `gfnet.ModelConfig`.

    Attributes:
        exit_blocks: blocks after which an image may exit early, ascending, without the last one.
        last_block: the block after which all remaining images exit.
        num_classes: number of classes.
        has_gates: whether the early stages give a score.
        default_rule: the exit rule, of gfnet.EXIT_RULES, unless another is chosen.
        parameter_count: of all stages; None if not known.
    """

    exit_blocks: tuple[int, ...]
    last_block: int
    num_classes: int
    has_gates: bool
    default_rule: str
    parameter_count: int | None

    @property
    def depth(self) -> int:
        """Number of blocks."""
        return self.last_block + 1

    def parameters(self) -> int | None:
        """Number of parameters of all stages; None if not known."""
        return self.parameter_count


@dataclass(frozen=True)
class BundleMetadata:
    """What a bundle says of its model, named as in `gfnet.Metadata`.

    Attributes:
        config: its exits and classes.
        preprocessing: of its images.
        class_names: K names, or () if they are not known.
        thresholds: the default ones, one per enabled exit, or ().
    """

    config: BundleConfig
    preprocessing: Preprocessing
    class_names: tuple[str, ...]
    thresholds: tuple[float, ...]


class BundleExitCost(NamedTuple):
    """What one image costs up to an exit of a bundle; None: a stage up to there does not say.

    Attributes:
        block: the block that the exit follows.
        multiply_adds: of the graphs as they are.
        params: parameters that the image meets.
    """

    block: int
    multiply_adds: int | None
    params: int | None

    @property
    def matrix_multiply_adds(self) -> int | None:
        """As every engine runs them: a graph has no other way."""
        return self.multiply_adds


def describe_bundle(
    manifest: BundleManifest, exit_blocks: tuple[int, ...] | None, where: str
) -> BundleMetadata:
    """Return what a bundle says of its model.

    Args:
        manifest: of the bundle.
        exit_blocks: enable only these of its exits; () is full depth, None enables all.
        where: names the bundle in messages.

    Raises:
        BundleError: it has no such exit.
    """
    given = manifest.exit_blocks
    chosen = given if exit_blocks is None else exit_blocks
    if list(chosen) != sorted(set(chosen) & set(given)):
        raise BundleError(
            f"{where}: exit_blocks {list(chosen)}: it has exits after blocks {list(given)}; list"
            " some of them, each once and in ascending order, or none: []"
        )
    limits = dict(zip(given, manifest.thresholds, strict=False))
    early = manifest.stages[:-1]
    config = BundleConfig(
        exit_blocks=chosen,
        last_block=manifest.stages[-1].exit_block,
        num_classes=manifest.classes,
        has_gates=all(stage.score is not None for stage in early),
        default_rule=manifest.exit_rule,
        parameter_count=_sums([stage.parameters for stage in manifest.stages])[-1],
    )
    return BundleMetadata(
        config,
        manifest.preprocessing,
        manifest.class_names,
        tuple(limits[block] for block in chosen if limits),
    )


def sum_stage_costs(
    manifest: BundleManifest, exit_blocks: tuple[int, ...]
) -> tuple[BundleExitCost, ...]:
    """Return what one image costs up to each enabled exit, the last block's included."""
    stages = manifest.stages
    blocks = [stage.exit_block for stage in stages]
    sums = zip(
        blocks,
        _sums([stage.multiply_adds for stage in stages]),
        _sums([stage.parameters for stage in stages]),
        strict=True,
    )
    return tuple(BundleExitCost(*each) for each in sums if each[0] in {*exit_blocks, blocks[-1]})


def stages_by_exit(
    manifest: BundleManifest, exit_blocks: tuple[int, ...]
) -> list[list[StageEntry]]:
    """Return the stages between two enabled exits, which run one after the other."""
    found: list[list[StageEntry]] = [[]]
    for stage in manifest.stages:
        found[-1].append(stage)
        if stage.exit_block in exit_blocks:
            found.append([])
    return found


def _sums(counts: list[int | None]) -> list[int | None]:
    """Return the sum up to each; one that is not known makes those after it unknown."""
    return list(accumulate(counts, lambda a, b: None if a is None or b is None else a + b))
