"""Sizes, grids, named variants, and the shapes that follow from them."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gfnet.config import FAMILIES, VARIANTS, ConfigError, ModelConfig, configure, nearest_square
from gfnet.model import build, create

PINNED = {  # parameters with 10 classes
    "gfnet-ti": 7_257_354,
    "gfnet-xs": 15_604_618,
    "gfnet-s": 24_488_458,
    "gfnet-b": 42_612_746,
    "gfnet-xs-dynn": 15_620_038,
    "gfnet-h-ti": 14_577_226,
    "gfnet-h-s": 31_401_322,
    "gfnet-h-b": 52_982_890,
    "gfnet-xs-distil": 4_256_852,
    "gfnet-xs-distil-dynn": 4_299_367,
}


def test_every_variant_is_pinned() -> None:
    """A new variant without a parameter count here fails."""
    assert PINNED.keys() == VARIANTS.keys()


@pytest.mark.parametrize("name", VARIANTS)
def test_variant_has_its_parameters(name: str) -> None:
    """The modules and the shapes told without torch both give the pinned count."""
    with torch.device("meta"):
        model = create(name, num_classes=10)
    assert sum(parameter.numel() for parameter in model.parameters()) == PINNED[name]
    assert configure(name, num_classes=10).parameters() == PINNED[name]


@given(
    family=st.sampled_from([family for family in FAMILIES if family != "gfnet-h"]),
    side=st.integers(1, 5),
    patch_size=st.integers(1, 4),
    embed_dim=st.integers(1, 9),
    depth=st.integers(1, 5),
    num_classes=st.integers(2, 7),
)
def test_state_shapes_are_those_of_the_modules(
    family: str, side: int, patch_size: int, embed_dim: int, depth: int, num_classes: int
) -> None:
    """What is said without torch is what torch builds, name by name."""
    config = configure(
        family,
        img_size=side * patch_size,
        patch_size=patch_size,
        embed_dim=embed_dim,
        depth=depth,
        num_classes=num_classes,
    )
    with torch.device("meta"):
        state = create(
            family,
            img_size=config.img_size,
            patch_size=patch_size,
            embed_dim=embed_dim,
            depth=depth,
            num_classes=num_classes,
        ).state_dict()
    assert {name: tuple(tensor.shape) for name, tensor in state.items()} == config.state_shapes()


@pytest.mark.parametrize(
    ("name", "count"),
    [("gfnet-h-ti", 15_085_096), ("gfnet-h-s", 32_162_632), ("gfnet-h-b", 53_744_200)],
)
def test_hierarchical_variants_are_those_that_are_published(name: str, count: int) -> None:
    """Parameters with ImageNet's classes; filters of the published shapes."""
    config = configure(name)
    assert config.parameters() == count
    shapes = config.state_shapes()
    filters = [shapes[f"blocks.{stage}.0.filter.complex_weight"][:2] for stage in range(4)]
    assert filters == [(56, 29), (28, 15), (14, 8), (7, 4)]
    assert shapes["pos_embed"] == (1, 56 * 56, config.embed_dims[0])


WHOLE = st.integers(1, 4)


@given(
    img_size=st.integers(32, 75),
    embed_dims=st.lists(WHOLE, min_size=4, max_size=4),
    depths=st.lists(WHOLE, min_size=4, max_size=4),
    data=st.data(),
)
def test_hierarchical_state_shapes_are_those_of_the_modules(
    img_size: int, embed_dims: list[int], depths: list[int], data: st.DataObject
) -> None:
    """With any exits, each of its stage's width; and JSON keeps all of it."""
    exits = sorted(data.draw(st.sets(st.integers(0, sum(depths) - 2))))
    sizes = {"img_size": img_size, "embed_dims": embed_dims, "depths": depths}
    config = configure("gfnet-h", num_classes=3, exit_blocks=exits, **sizes)
    with torch.device("meta"):
        state = build(config).state_dict()
    assert {name: tuple(tensor.shape) for name, tensor in state.items()} == config.state_shapes()
    assert ModelConfig.from_json(config.to_json()) == config
    assert [level.last for level in config.levels][-1] == config.last_block == sum(depths) - 1
    assert config.has_exits == bool(exits)


@given(st.integers(1, 3000))
def test_nearest_square_is_the_best_factor_pair(tokens: int) -> None:
    """No other pair of factors is nearer to square, and a <= b."""
    rows, columns = nearest_square(tokens)
    pairs = [(a, tokens // a) for a in range(1, tokens + 1) if tokens % a == 0]
    assert rows * columns == tokens
    assert columns - rows == min(b - a for a, b in pairs if a <= b)


@pytest.mark.parametrize(
    ("img_size", "family", "grid"),
    [(224, "gfnet", (14, 14)), (224, "gfnet-distil", (11, 18)), (256, "gfnet-distil", (6, 43))],
)
def test_default_grids(img_size: int, family: str, grid: tuple[int, int]) -> None:
    """The grids of the reference follow by themselves, but 43 x 6, which is given."""
    assert ModelConfig(family, img_size=img_size).filter_grid == grid


def test_given_grid_is_kept() -> None:
    """The reference views 258 tokens as 43 x 6."""
    assert configure("gfnet-xs-distil", img_size=256, filter_grid=(43, 6)).filter_grid == (43, 6)


def test_a_remainder_of_the_side_is_no_patch() -> None:
    """600 pixels hold 37 patches of 16, as the published exits see scenes of that size."""
    config = configure("gfnet-xs-dynn", img_size=600, num_classes=30)
    assert (config.patches, config.filter_grid, config.tokens) == (37, (37, 37), 1369)


def test_a_new_image_size_resets_the_grid() -> None:
    """A variant's own grid does not outlive a change of its tokens."""
    assert configure("gfnet-xs", img_size=32, patch_size=4).filter_grid == (8, 8)


@pytest.mark.parametrize(
    ("sizes", "words"),
    [
        ({"img_size": 15}, "img_size 15 is smaller than patch_size 16"),
        ({"img_size": 0}, "img_size 0"),
        ({"embed_dim": True}, "embed_dim True"),
        ({"depth": 1001}, "depth 1001 is not a whole number from 1 to 1000"),
        ({"img_size": 10**15}, "from 1 to 65536"),
        ({"exit_blocks": None}, "exit_blocks None is not a list"),
        ({"filter_grid": 3}, "filter_grid 3 is not"),
        ({"num_classes": 1}, "at least 2"),
        ({"filter_grid": (10, 20)}, "holds 200 tokens, but the model has 198; (11, 18)"),
        ({"filter_grid": (198,)}, "two whole numbers"),
        ({"exit_blocks": (11,)}, "0..10"),
        ({"exit_blocks": (-1,)}, "0..10"),
        ({"exit_blocks": (9, 7)}, "ascending"),
        ({"exit_blocks": (7, 7)}, "once"),
        ({"exit_blocks": ("7",)}, "whole numbers"),
        ({"colour": 3}, "unknown sizes colour"),
    ],
)
def test_impossible_sizes_say_what_is_wrong(sizes: dict[str, object], words: str) -> None:
    """Each contradiction is named with what would be allowed."""
    with pytest.raises(ConfigError) as caught:
        configure("gfnet-xs-distil-dynn", **sizes)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("sizes", "words"),
    [
        ({"img_size": 31}, "img_size 31 is too small for 4 stages: the first has patches of 4"),
        ({"img_size": 31}, "at least 32"),
        ({"embed_dims": (1, 2, 3)}, "embed_dims (1, 2, 3): give 4 whole numbers, one per stage"),
        ({"depths": (1, 2, 0, 1)}, "depths 0 is not a whole number from 1 to 1000"),
        ({"depths": 3}, "depths 3: give 4"),
        ({"filter_grid": (28, 112)}, "grids are square, and follow from img_size"),
        ({"depth": 9, "patch_size": 4}, "patch_size, depth: a gfnet-h model has stages; give emb"),
        ({"exit_blocks": (18,)}, "0..17"),
    ],
)
def test_impossible_stages_say_what_is_wrong(sizes: dict[str, object], words: str) -> None:
    """And a flat model has none; a header may not contradict itself."""
    with pytest.raises(ConfigError) as caught:
        configure("gfnet-h-ti", **sizes)
    assert words in str(caught.value)


def test_stages_of_other_models_and_contradictions() -> None:
    """Both are named."""
    with pytest.raises(ConfigError, match="a gfnet model has no stages"):
        configure("gfnet-xs", depths=(3, 3, 3, 3))
    fields = configure("gfnet-h-ti").to_json()
    with pytest.raises(ConfigError, match="depth 20 is not that of its stages, 19"):
        ModelConfig.from_json(fields | {"depth": 20})
    with pytest.raises(ConfigError, match="unknown fields: embed_dims, depths"):
        ModelConfig.from_json(fields | {"family": "gfnet"})


def test_unknown_names_and_exits_of_static_models() -> None:
    """A static family has no exits, and an unknown name lists the known ones."""
    with pytest.raises(ConfigError, match="no early exits"):
        configure("gfnet-xs", exit_blocks=(3,))
    with pytest.raises(ConfigError, match="gfnet-xs-distil"):
        configure("resnet50")
    with pytest.raises(ConfigError, match="family 'resnet'"):
        ModelConfig("resnet")


def test_json_round_trip() -> None:
    """What is written is read back; missing and unknown fields are named."""
    config = configure("gfnet-xs-distil-dynn", num_classes=3)
    assert ModelConfig.from_json(config.to_json()) == config
    with pytest.raises(ConfigError, match="lack depth"):
        ModelConfig.from_json({k: v for k, v in config.to_json().items() if k != "depth"})
    with pytest.raises(ConfigError, match="unknown fields: colour"):
        ModelConfig.from_json(config.to_json() | {"colour": 1})
    with pytest.raises(ConfigError, match="not a list"):
        ModelConfig.from_json(config.to_json() | {"exit_blocks": 7})


def test_family_without_exits_named_has_them_all() -> None:
    """A family of one's own enables every exit unless told otherwise."""
    assert configure("gfnet-dynn", depth=3).exit_blocks == (0, 1)
    config = configure("gfnet-distil-dynn", depth=4, num_classes=10)
    assert config.exit_blocks == (0, 1, 2)
    assert replace(config, exit_blocks=()).exit_blocks == ()
    assert math.prod(config.filter_grid) == config.tokens
