"""Sizes of a Global Filter Network, and the names and shapes of its tensors.

Needs no torch, so that a machine that never loads a model can plan a grid and check a checkpoint's
header.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from itertools import accumulate
from typing import Any, NamedTuple

FAMILIES = ("gfnet", "gfnet-dynn", "gfnet-h", "gfnet-distil", "gfnet-distil-dynn")
_WITH_GATES = ("gfnet-dynn", "gfnet-distil-dynn")
_WITH_EXITS = (*_WITH_GATES, "gfnet-h")
_GROWN = {"gfnet": "gfnet-dynn", "gfnet-h": "gfnet-h", "gfnet-distil": "gfnet-distil-dynn"}
"""The family that a static model of a family becomes once it gets exits."""

GROWING = tuple(_GROWN)
"""Families whose models can get exits."""

EXIT_RULES = ("gate", "max_prob", "margin", "entropy", "patience")
"""What is compared with the threshold of an exit, larger meaning surer: the learned gate's score;
the largest probability; the margin of the two largest; 1 - entropy / log K; or how many exits in a
row, up to this one, have the same prediction (Zhou et al., BERT loses patience, NeurIPS 2020)."""

MLP_RATIO = 4
GATE_FEATURES = 4
"""Inputs of a gate: maximum probability, entropy, margin, entropy of softmax(2 logits)."""

EXIT_PARTS = ("intermediate_norms", "intermediate_heads", "intermediate_heads_dist", "gates")
"""Names, in the state dict, of the parts that only early exits have."""

STAGES = 4
"""Stages of a hierarchical model."""

_STAGE_PATCH = 4  # pixels along a side of the first stage's patches
_SHRINK = 2  # of a stage's grid, compared with that of the stage before
_OF_STAGES = ("patch_size", "embed_dim", "depth")  # which follow from a hierarchical model's stages

MAX_DEPTH = 1000
MAX_SIZE = 65_536
"""Far beyond any model; a header that claims more would use memory before it is rejected."""

MAX_PARAMETERS = 2**29
"""Ten times the largest published model, 2 GiB in float32: more is a mistake, or an attack."""

Shape = tuple[int, ...]


class ConfigError(ValueError):
    """Raised for sizes that no model can have; the message says which, and what is allowed."""


class BlockLevel(NamedTuple):
    """Consecutive blocks of one width and grid: a stage, or all blocks of a flat model.

    Attributes:
        first, last: numbers of its blocks, the last included.
        dim: C, channels of a token.
        grid: (a, b), rows and columns of its N tokens.
    """

    first: int
    last: int
    dim: int
    grid: tuple[int, int]

    @property
    def tokens_shape(self) -> tuple[int, int]:
        """Return (N, C)."""
        return self.grid[0] * self.grid[1], self.dim


@dataclass(frozen=True)
class ModelConfig:
    """Family and sizes of one model.

    Attributes:
        family: one of FAMILIES.
        img_size: side of the square input image, pixels.
        patch_size: side of a patch, pixels. A remainder at the right and the lower edge of an image
            is not read, as by a strided convolution without padding.
        embed_dim: channels of a token.
        depth: number of blocks.
        num_classes: number of classes.
        filter_grid: (a, b), rows and columns of the grid that the N tokens form; a * b = N. ()
            means the factor pair nearest to square, a <= b.
        exit_blocks: blocks after which an image may exit early, ascending, without the last block
            (after which all remaining images exit). Empty for the static families.
        embed_dims, depths: channels and number of blocks of each stage of a hierarchical model;
            patch_size, embed_dim (of the first stage) and depth (of all) follow. Else ().
        has_gates: whether each exit has a learned gate; without, images exit by another exit rule.

    Raises:
        ConfigError: the sizes contradict each other.
    """

    family: str
    img_size: int = 224
    patch_size: int = 16
    embed_dim: int = 192
    depth: int = 12
    num_classes: int = 1000
    filter_grid: tuple[int, ...] = ()
    exit_blocks: tuple[int, ...] = ()
    embed_dims: tuple[int, ...] = ()
    depths: tuple[int, ...] = ()
    has_gates: bool = True

    def __post_init__(self) -> None:
        """Check the sizes and fill in those that follow from others."""
        if self.family not in FAMILIES:
            raise ConfigError(f"family {self.family!r} is unknown; known: {', '.join(FAMILIES)}")
        self._take_stages()
        for name in ("img_size", "patch_size", "embed_dim", "depth", "num_classes"):
            _check_positive(name, getattr(self, name))
        if self.num_classes <= 1:  # the margin of a gate needs two classes
            raise ConfigError(f"num_classes {self.num_classes}: a classifier needs at least 2")
        if self.img_size < self.patch_size:
            raise ConfigError(
                f"img_size {self.img_size} is smaller than patch_size {self.patch_size}: an image"
                " must hold one patch"
            )
        if self.is_hierarchical and self.img_size < (
            least := _STAGE_PATCH * _SHRINK ** (STAGES - 1)
        ):
            raise ConfigError(
                f"img_size {self.img_size} is too small for {STAGES} stages: the first has patches"
                f" of {_STAGE_PATCH} pixels, each later one half as many along a side; at least"
                f" {least}"
            )
        object.__setattr__(self, "filter_grid", self._checked_grid())
        object.__setattr__(self, "exit_blocks", self._checked_exits())
        if type(self.has_gates) is not bool:
            raise ConfigError(f"has_gates {self.has_gates!r} is not true or false")
        if not self.has_gates and not self.has_exits:
            raise ConfigError(f"has_gates false: a {self.family} model here has no exits")
        if (count := self.parameters()) > MAX_PARAMETERS:
            raise ConfigError(
                f"img_size {self.img_size}, patch_size {self.patch_size}, embed_dim"
                f" {self.embed_dim}, depth {self.depth}, num_classes {self.num_classes}: that is"
                f" {count:,} parameters; at most {MAX_PARAMETERS:,}"
            )

    def _take_stages(self) -> None:
        """Check the stages, and set the sizes that follow from them."""
        for name in ("embed_dims", "depths"):
            value = getattr(self, name)
            if not self.is_hierarchical:
                if value != ():
                    raise ConfigError(f"{name} {value!r}: a {self.family} model has no stages")
                continue
            if not isinstance(value, (tuple, list)) or len(value) != STAGES:
                raise ConfigError(f"{name} {value!r}: give {STAGES} whole numbers, one per stage")
            for number in value:
                _check_positive(name, number)
            object.__setattr__(self, name, tuple(value))
        if self.is_hierarchical:
            object.__setattr__(self, "patch_size", _STAGE_PATCH)
            object.__setattr__(self, "embed_dim", self.embed_dims[0])
            object.__setattr__(self, "depth", sum(self.depths))

    def _checked_grid(self) -> tuple[int, ...]:
        if not isinstance(self.filter_grid, (tuple, list)):
            raise ConfigError(f"filter_grid {self.filter_grid!r} is not two whole numbers")
        grid = tuple(self.filter_grid) or nearest_square(self.tokens)
        if [type(side) for side in grid] != [int, int] or min(grid) < 1:
            raise ConfigError(f"filter_grid {list(grid)}: give two whole numbers, rows and columns")
        if grid[0] * grid[1] != self.tokens:
            raise ConfigError(
                f"filter_grid {grid[0]} x {grid[1]} holds {grid[0] * grid[1]} tokens, but the model"
                f" has {self.tokens}; {nearest_square(self.tokens)} would fit"
            )
        if self.is_hierarchical and grid[0] != grid[1]:
            raise ConfigError(
                f"filter_grid {grid[0]} x {grid[1]}: a {self.family} model's grids are square, and"
                " follow from img_size"
            )
        return grid

    def _checked_exits(self) -> tuple[int, ...]:
        if not isinstance(self.exit_blocks, (tuple, list)):
            raise ConfigError(f"exit_blocks {self.exit_blocks!r} is not a list of block numbers")
        exits = tuple(self.exit_blocks)
        if exits and not self.has_exits:
            raise ConfigError(
                f"exit_blocks {list(exits)}: a {self.family} model has no early exits;"
                f" the families {', '.join(_WITH_EXITS)} have"
            )
        if any(type(block) is not int for block in exits):
            raise ConfigError(f"exit_blocks {list(exits)}: give whole numbers")
        if any(block < 0 or block > self.depth - 2 for block in exits):
            raise ConfigError(
                f"exit_blocks {list(exits)}: a model of {self.depth} blocks can exit early after"
                f" blocks 0..{self.depth - 2} (after the last block, every image exits)"
            )
        if list(exits) != sorted(set(exits)):
            raise ConfigError(f"exit_blocks {list(exits)}: list each once, in ascending order")
        return exits

    @property
    def has_tokens(self) -> bool:
        """Whether a class and a distillation token precede the patches."""
        return self.family in ("gfnet-distil", "gfnet-distil-dynn")

    @property
    def is_hierarchical(self) -> bool:
        """Whether the model has stages of different width and grid."""
        return self.family == "gfnet-h"

    @property
    def has_exits(self) -> bool:
        """Whether images can exit early."""
        return self.family in _WITH_GATES or (self.is_hierarchical and bool(self.exit_blocks))

    @property
    def default_rule(self) -> str:
        """The exit rule, of EXIT_RULES, unless another is chosen."""
        return "gate" if self.has_gates else "max_prob"

    @property
    def has_exit_at_every_block(self) -> bool:
        """Whether heads and gates exist for every block but the last, whichever are enabled.

        Otherwise they exist for the exits alone, numbered in their order.
        """
        return self.family == "gfnet-distil-dynn"

    @property
    def exit_numbers(self) -> dict[int, int]:
        """Number of head and gate in the state dict, by the block that the exit follows."""
        if self.has_exit_at_every_block:
            return {block: block for block in range(self.depth - 1)}
        return {block: number for number, block in enumerate(self.exit_blocks)}

    @property
    def patches(self) -> int:
        """Number of patches along an image's side."""
        return self.img_size // self.patch_size

    @property
    def tokens(self) -> int:
        """N, the number of tokens in a block; of a hierarchical model, in its first stage."""
        return self.patches**2 + (2 if self.has_tokens else 0)

    @property
    def levels(self) -> tuple[BlockLevel, ...]:
        """The stages of a hierarchical model; of any other, all blocks as one."""
        rows, columns = self.filter_grid
        if not self.is_hierarchical:
            return (BlockLevel(0, self.depth - 1, self.embed_dim, (rows, columns)),)
        ends = tuple(accumulate(self.depths))
        sides = [self.patches // _SHRINK**stage for stage in range(STAGES)]
        return tuple(
            BlockLevel(end - depth, end - 1, dim, (side, side))
            for end, depth, dim, side in zip(ends, self.depths, self.embed_dims, sides, strict=True)
        )

    def level_of(self, block: int) -> BlockLevel:
        """Return the level that a block belongs to."""
        return next(level for level in self.levels if block <= level.last)

    def block_name(self, block: int) -> str:
        """Return the name of a block in the state dict."""
        if not self.is_hierarchical:
            return f"blocks.{block}"
        level = self.level_of(block)
        return f"blocks.{self.levels.index(level)}.{block - level.first}"

    @property
    def last_block(self) -> int:
        """The block after which all remaining images exit."""
        return self.depth - 1

    def grown(self, exit_blocks: tuple[int, ...]) -> ModelConfig:
        """Return the sizes of a static model, of a family in GROWING, once it has exits.

        Raises:
            ConfigError: no such model can have these exits.
        """
        return replace(self, family=_GROWN[self.family], exit_blocks=exit_blocks)

    def state_shapes(self) -> dict[str, Shape]:
        """Name and shape of each tensor in the state dict; a test checks the modules against it."""
        dim = self.embed_dim
        shapes: dict[str, Shape] = {"pos_embed": (1, self.tokens, dim)} | self._embed_shapes()
        if self.has_tokens:
            shapes |= {"cls_token": (1, 1, dim), "dist_token": (1, 1, dim)}
        for level in self.levels:
            for block in range(level.first, level.last + 1):
                shapes |= self._block_shapes(self.block_name(block), level)
        last = self.levels[-1].dim
        shapes |= {"norm.weight": (last,), "norm.bias": (last,)}
        heads = {"head": last} | ({"head_dist": last} if self.has_tokens else {})
        for block, number in self.exit_numbers.items():
            width = self.level_of(block).dim
            heads[f"intermediate_heads.{number}"] = width
            if self.has_tokens:
                heads[f"intermediate_heads_dist.{number}"] = width
            if self.is_hierarchical:
                shapes[f"intermediate_norms.{number}.weight"] = (width,)
                shapes[f"intermediate_norms.{number}.bias"] = (width,)
            if self.has_gates:
                shapes[f"gates.{number}.linear.weight"] = (1, GATE_FEATURES)
                shapes[f"gates.{number}.linear.bias"] = (1,)
        for head, width in heads.items():
            shapes[f"{head}.weight"] = (self.num_classes, width)
            shapes[f"{head}.bias"] = (self.num_classes,)
        return shapes

    def _embed_shapes(self) -> dict[str, Shape]:
        """Shapes of the projections of patches: one, or one per stage."""
        if not self.is_hierarchical:
            projections = {"patch_embed.proj": (self.embed_dim, 3, self.patch_size)}
        else:
            befores, sides = (3, *self.embed_dims), (_STAGE_PATCH, *[_SHRINK] * (STAGES - 1))
            projections = {
                f"patch_embed.{stage}.proj": (dim, befores[stage], sides[stage])
                for stage, dim in enumerate(self.embed_dims)
            }
        shapes: dict[str, Shape] = {}
        for name, (dim, before, side) in projections.items():
            shapes |= {f"{name}.weight": (dim, before, side, side), f"{name}.bias": (dim,)}
        return shapes

    def _block_shapes(self, name: str, level: BlockLevel) -> dict[str, Shape]:
        dim, hidden = level.dim, level.dim * MLP_RATIO
        rows, columns = level.grid
        shapes: dict[str, Shape] = {
            f"{name}.norm1.weight": (dim,),
            f"{name}.norm1.bias": (dim,),
            f"{name}.filter.complex_weight": (rows, columns // 2 + 1, dim, 2),
            f"{name}.norm2.weight": (dim,),
            f"{name}.norm2.bias": (dim,),
            f"{name}.mlp.fc1.weight": (hidden, dim),
            f"{name}.mlp.fc1.bias": (hidden,),
            f"{name}.mlp.fc2.weight": (dim, hidden),
            f"{name}.mlp.fc2.bias": (dim,),
        }
        return shapes | ({f"{name}.gamma": (dim,)} if self.is_hierarchical else {})

    def parameters(self) -> int:
        """Number of trainable parameters of the model."""
        return sum(math.prod(shape) for shape in self.state_shapes().values())

    def to_json(self) -> dict[str, Any]:
        """The fields as plain JSON values; `from_json` reads them back."""
        fields = {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in asdict(self).items()
        }
        if not self.is_hierarchical:
            del fields["embed_dims"], fields["depths"]  # which an earlier gfjobs does not know
        if self.has_gates:
            del fields["has_gates"]  # likewise
        return fields

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> ModelConfig:
        """Read what `to_json` wrote.

        Raises:
            ConfigError: a field is missing, unknown, or impossible.
        """
        known = [*cls.__dataclass_fields__]
        if fields.get("family") != "gfnet-h":
            known = [name for name in known if name not in ("embed_dims", "depths")]
        if missing := [name for name in known if name not in (*fields, "has_gates")]:
            raise ConfigError(f"the model's sizes lack {', '.join(missing)}")
        if unknown := [name for name in fields if name not in known]:
            raise ConfigError(f"the model's sizes have unknown fields: {', '.join(unknown)}")
        for name in ("filter_grid", "exit_blocks", "embed_dims", "depths"):
            if name in known and not isinstance(fields[name], list):
                raise ConfigError(f"{name} {fields[name]!r} is not a list")
        values: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in fields.items()
        }
        config = cls(**values)
        if odd := [name for name in _OF_STAGES if getattr(config, name) != values[name]]:
            raise ConfigError(
                f"{odd[0]} {values[odd[0]]!r} is not that of its stages, {getattr(config, odd[0])}"
            )
        return config


def nearest_square(tokens: int) -> tuple[int, int]:
    """The factor pair (a, b) of `tokens` nearest to square, a <= b."""
    rows = next(a for a in range(math.isqrt(tokens), 0, -1) if tokens % a == 0)
    return rows, tokens // rows


def _check_positive(name: str, value: object) -> None:
    highest = MAX_DEPTH if name in ("depth", "depths") else MAX_SIZE
    if type(value) is not int or not 1 <= value <= highest:
        shown = repr(value) if isinstance(value, (int, float, str)) else type(value).__name__
        raise ConfigError(f"{name} {shown} is not a whole number from 1 to {highest}")


VARIANTS: dict[str, ModelConfig] = {
    # The flat family as published: Rao et al., NeurIPS 2021, table 2.
    "gfnet-ti": ModelConfig("gfnet", embed_dim=256, depth=12),
    "gfnet-xs": ModelConfig("gfnet", embed_dim=384, depth=12),
    "gfnet-s": ModelConfig("gfnet", embed_dim=384, depth=19),
    "gfnet-b": ModelConfig("gfnet", embed_dim=512, depth=19),
    # The flat family with exits as published: ACM MM 2025.
    "gfnet-xs-dynn": ModelConfig("gfnet-dynn", embed_dim=384, depth=12, exit_blocks=(3, 5, 7, 9)),
    # The hierarchical family as published: the same paper, table 2.
    "gfnet-h-ti": ModelConfig("gfnet-h", embed_dims=(64, 128, 256, 512), depths=(3, 3, 10, 3)),
    "gfnet-h-s": ModelConfig("gfnet-h", embed_dims=(96, 192, 384, 768), depths=(3, 3, 10, 3)),
    "gfnet-h-b": ModelConfig("gfnet-h", embed_dims=(96, 192, 384, 768), depths=(3, 3, 27, 3)),
    "gfnet-xs-distil": ModelConfig("gfnet-distil", embed_dim=192, depth=12),
    "gfnet-xs-distil-dynn": ModelConfig(
        "gfnet-distil-dynn", embed_dim=192, depth=12, exit_blocks=(7, 9, 10)
    ),
}


def configure(name: str, **sizes: Any) -> ModelConfig:
    """Return the configuration of a named variant or of a family, with the given sizes changed.

    Without filter_grid, the grid is the factor pair nearest to square. Without exit_blocks, a
    family with gates has an exit after every block but the last.

    Raises:
        ConfigError: the name or a size is unknown, or the sizes contradict each other.
    """
    if unknown := [key for key in sizes if key not in ModelConfig.__dataclass_fields__]:
        known = ", ".join(ModelConfig.__dataclass_fields__)
        raise ConfigError(f"unknown sizes {', '.join(unknown)}; known: {known}")
    sizes = {key: tuple(v) if isinstance(v, list) else v for key, v in sizes.items()}
    family = VARIANTS[name].family if name in VARIANTS else name
    if family == "gfnet-h" and (given := [key for key in _OF_STAGES if key in sizes]):
        raise ConfigError(
            f"{', '.join(given)}: a {family} model has stages; give embed_dims and depths,"
            f" {STAGES} numbers each"
        )
    if name in VARIANTS:
        return replace(VARIANTS[name], **({"filter_grid": ()} | sizes))
    if name not in FAMILIES:
        known = ", ".join([*VARIANTS, *FAMILIES])
        raise ConfigError(f"model {name!r} is unknown; known: {known}")
    if name in _WITH_GATES and "exit_blocks" not in sizes:
        depth = sizes.get("depth", ModelConfig.depth)
        _check_positive("depth", depth)
        sizes["exit_blocks"] = tuple(range(depth - 1))
    return ModelConfig(name, **sizes)
