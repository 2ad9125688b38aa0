"""Sizes of a Global Filter Network, and the names and shapes of its tensors.

Needs no torch, so that a machine that never loads a model can plan a grid and check a checkpoint's
header.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

FAMILIES = ("gfnet", "gfnet-dynn", "gfnet-distil", "gfnet-distil-dynn")
_WITH_GATES = ("gfnet-dynn", "gfnet-distil-dynn")
_GROWN = {"gfnet": "gfnet-dynn", "gfnet-distil": "gfnet-distil-dynn"}
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

EXIT_PARTS = ("intermediate_heads", "intermediate_heads_dist", "gates")
"""Names, in the state dict, of the parts that only early exits have."""

MAX_DEPTH = 1000
MAX_SIZE = 65_536
"""Far beyond any model; a header that claims more would use memory before it is rejected."""

MAX_PARAMETERS = 2**29
"""Ten times the largest published model, 2 GiB in float32: more is a mistake, or an attack."""

Shape = tuple[int, ...]


class ConfigError(ValueError):
    """Raised for sizes that no model can have; the message says which, and what is allowed."""


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

    def __post_init__(self) -> None:
        """Check the sizes and fill in the grid."""
        if self.family not in FAMILIES:
            raise ConfigError(f"family {self.family!r} is unknown; known: {', '.join(FAMILIES)}")
        for name in ("img_size", "patch_size", "embed_dim", "depth", "num_classes"):
            _check_positive(name, getattr(self, name))
        if self.num_classes <= 1:  # the margin of a gate needs two classes
            raise ConfigError(f"num_classes {self.num_classes}: a classifier needs at least 2")
        if self.img_size < self.patch_size:
            raise ConfigError(
                f"img_size {self.img_size} is smaller than patch_size {self.patch_size}: an image"
                " must hold one patch"
            )
        object.__setattr__(self, "filter_grid", self._checked_grid())
        object.__setattr__(self, "exit_blocks", self._checked_exits())
        if (count := self.parameters()) > MAX_PARAMETERS:
            raise ConfigError(
                f"img_size {self.img_size}, patch_size {self.patch_size}, embed_dim"
                f" {self.embed_dim}, depth {self.depth}, num_classes {self.num_classes}: that is"
                f" {count:,} parameters; at most {MAX_PARAMETERS:,}"
            )

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
        return grid

    def _checked_exits(self) -> tuple[int, ...]:
        if not isinstance(self.exit_blocks, (tuple, list)):
            raise ConfigError(f"exit_blocks {self.exit_blocks!r} is not a list of block numbers")
        exits = tuple(self.exit_blocks)
        if exits and not self.has_gates:
            raise ConfigError(
                f"exit_blocks {list(exits)}: a {self.family} model has no early exits;"
                f" the families {' and '.join(_WITH_GATES)} have"
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
    def has_gates(self) -> bool:
        """Whether images can exit early."""
        return self.family in _WITH_GATES

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
        """N, the number of tokens in a block."""
        return self.patches**2 + (2 if self.has_tokens else 0)

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
        dim, hidden = self.embed_dim, self.embed_dim * MLP_RATIO
        rows, columns = self.filter_grid
        shapes: dict[str, Shape] = {
            "patch_embed.proj.weight": (dim, 3, self.patch_size, self.patch_size),
            "patch_embed.proj.bias": (dim,),
            "pos_embed": (1, self.tokens, dim),
        }
        if self.has_tokens:
            shapes |= {"cls_token": (1, 1, dim), "dist_token": (1, 1, dim)}
        for block in range(self.depth):
            shapes |= {
                f"blocks.{block}.norm1.weight": (dim,),
                f"blocks.{block}.norm1.bias": (dim,),
                f"blocks.{block}.filter.complex_weight": (rows, columns // 2 + 1, dim, 2),
                f"blocks.{block}.norm2.weight": (dim,),
                f"blocks.{block}.norm2.bias": (dim,),
                f"blocks.{block}.mlp.fc1.weight": (hidden, dim),
                f"blocks.{block}.mlp.fc1.bias": (hidden,),
                f"blocks.{block}.mlp.fc2.weight": (dim, hidden),
                f"blocks.{block}.mlp.fc2.bias": (dim,),
            }
        shapes |= {"norm.weight": (dim,), "norm.bias": (dim,)}
        heads = ["head"] + (["head_dist"] if self.has_tokens else [])
        for number in self.exit_numbers.values():
            heads.append(f"intermediate_heads.{number}")
            if self.has_tokens:
                heads.append(f"intermediate_heads_dist.{number}")
            shapes[f"gates.{number}.linear.weight"] = (1, GATE_FEATURES)
            shapes[f"gates.{number}.linear.bias"] = (1,)
        for head in heads:
            shapes[f"{head}.weight"] = (self.num_classes, dim)
            shapes[f"{head}.bias"] = (self.num_classes,)
        return shapes

    def parameters(self) -> int:
        """Number of trainable parameters of the model."""
        return sum(math.prod(shape) for shape in self.state_shapes().values())

    def to_json(self) -> dict[str, Any]:
        """The fields as plain JSON values; `from_json` reads them back."""
        fields = asdict(self)
        return fields | {
            "filter_grid": list(self.filter_grid),
            "exit_blocks": list(self.exit_blocks),
        }

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> ModelConfig:
        """Read what `to_json` wrote.

        Raises:
            ConfigError: a field is missing, unknown, or impossible.
        """
        known = cls.__dataclass_fields__
        if missing := [name for name in known if name not in fields]:
            raise ConfigError(f"the model's sizes lack {', '.join(missing)}")
        if unknown := [name for name in fields if name not in known]:
            raise ConfigError(f"the model's sizes have unknown fields: {', '.join(unknown)}")
        for name in ("filter_grid", "exit_blocks"):
            if not isinstance(fields[name], list):
                raise ConfigError(f"{name} {fields[name]!r} is not a list")
        values = dict(fields) | {
            "filter_grid": tuple(fields["filter_grid"]),
            "exit_blocks": tuple(fields["exit_blocks"]),
        }
        return cls(**values)


def nearest_square(tokens: int) -> tuple[int, int]:
    """The factor pair (a, b) of `tokens` nearest to square, a <= b."""
    rows = next(a for a in range(math.isqrt(tokens), 0, -1) if tokens % a == 0)
    return rows, tokens // rows


def _check_positive(name: str, value: object) -> None:
    highest = MAX_DEPTH if name == "depth" else MAX_SIZE
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
