"""The families against independent implementations, and what routing really runs."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.plain_gfnet import plain_answers
from torch import Tensor

import gfnet


@pytest.fixture(autouse=True, scope="module")
def _without_gradients() -> Iterator[None]:
    """Evaluate, as every runtime does."""
    with torch.no_grad():
        yield


STATIC = ["gfnet_32px", "gfnet_224px", "pyramid_64px"]


@pytest.mark.parametrize("name", STATIC)
def test_static_families_match_the_published_models(name: str, oracle: Callable) -> None:
    """Logits within 1e-5, parameters exactly."""
    model, parameters, _, tensors = oracle(name)
    assert sum(parameter.numel() for parameter in model.parameters()) == parameters
    assert (model(tensors["input"]) - tensors["logits"]).abs().max() <= 1e-5


def test_distilled_family_matches_its_oracle(oracle: Callable) -> None:
    """Both tokens and both heads: logits within 1e-5 through all three calls."""
    model, parameters, _, tensors = oracle("distil_32px")
    assert sum(parameter.numel() for parameter in model.parameters()) == parameters
    outputs = model.forward_exits(tensors["input"])
    assert outputs.exit_blocks == (3,)
    assert outputs.gate_scores.shape == (0, 8)
    assert (outputs.logits - tensors["exit_logits"]).abs().max() <= 1e-5
    routed = model.route(tensors["input"], 0.5)
    assert (routed.logits - tensors["exit_logits"][0]).abs().max() <= 1e-5
    assert routed.exit_block.tolist() == [3] * 8
    assert routed.gate_score.isnan().all()


@pytest.mark.parametrize(
    ("name", "blocks", "furthest_score"),
    [("dynn_224px_cifar", (7, 9, 10, 11), 1e-6), ("flat_dynn_32px", (1, 3, 5, 6), 5e-6)],
)
def test_early_exit_families_match_their_oracles(
    name: str, blocks: tuple[int, ...], furthest_score: float, oracle: Callable
) -> None:
    """Every exit's logits within 1e-5, gate scores, exit blocks exactly."""
    model, parameters, thresholds, tensors = oracle(name)
    assert sum(parameter.numel() for parameter in model.parameters()) == parameters
    outputs = model.forward_exits(tensors["input"])
    assert outputs.exit_blocks == blocks
    assert (outputs.logits - tensors["exit_logits"]).abs().max() <= 1e-5
    assert (outputs.gate_scores - tensors["gate_scores"]).abs().max() <= furthest_score
    assert len(thresholds) == 3
    for threshold in thresholds:
        routed = model.route(tensors["input"], threshold)
        assert routed.exit_block.tolist() == tensors[f"exit_at.{threshold}"].tolist()
        assert (routed.logits - tensors[f"logits_at.{threshold}"]).abs().max() <= 1e-5


@pytest.mark.parametrize("exits", [(0,), (0, 2), (0, 1, 2, 3)])
@pytest.mark.parametrize("side", [12, 14])
def test_flat_exits_are_those_of_a_plain_implementation(
    side: int, exits: tuple[int, ...], lively: Callable
) -> None:
    """Also where a remainder of two pixels is in no patch, as a strided convolution leaves it."""
    sizes = {"img_size": side, "patch_size": 3, "embed_dim": 5, "num_classes": 6}
    model = lively(family="gfnet-dynn", exit_blocks=exits, **sizes).double()
    images = torch.randn(3, 3, side, side, dtype=torch.float64)
    outputs = model.forward_exits(images)
    state = {name: tensor.numpy() for name, tensor in model.state_dict().items()}
    expected = plain_answers(state, images.numpy(), exits)
    torch.testing.assert_close(outputs.logits, torch.from_numpy(expected.logits))
    # Gates compute in float32, whatever the model.
    scores = torch.from_numpy(expected.scores).float()
    torch.testing.assert_close(outputs.gate_scores.float(), scores, atol=5e-6, rtol=0)


@pytest.mark.parametrize("exits", [(), (1,), (0, 2, 3), (0, 1, 2, 3, 4, 5)])
@pytest.mark.parametrize("side", [32, 42, 54])
def test_hierarchical_exits_are_those_of_a_plain_implementation(
    side: int, exits: tuple[int, ...], lively: Callable
) -> None:
    """Within a stage, at its end, everywhere; where grids are odd, the last row is not merged."""
    depths = (1, 2, 3, 1)
    sizes = {"img_size": side, "embed_dims": (3, 5, 4, 6), "depths": depths, "num_classes": 5}
    model = lively(family="gfnet-h", exit_blocks=exits, **sizes).double()
    images = torch.randn(2, 3, side, side, dtype=torch.float64)
    outputs = model.forward_exits(images)
    state = {name: tensor.numpy() for name, tensor in model.state_dict().items()}
    expected = plain_answers(state, images.numpy(), exits, depths)
    torch.testing.assert_close(outputs.logits, torch.from_numpy(expected.logits))
    scores = torch.from_numpy(expected.scores).float().reshape(len(exits), 2)
    torch.testing.assert_close(outputs.gate_scores.float(), scores, atol=5e-6, rtol=0)


def test_hierarchical_models_route_as_their_exits_say(lively: Callable) -> None:
    """Those that go on are tokens of their stage's shape; a block computes only these."""
    model = lively(2, family="gfnet-h", exit_blocks=(0, 1, 3))
    images = torch.randn(32, 3, 32, 32)
    outputs = model.forward_exits(images)
    thresholds = outputs.gate_scores.quantile(0.6, dim=1).tolist()
    blocks, logits = replay(outputs, thresholds)
    assert set(blocks) == {0, 1, 3, 4}, "the example must use every exit"
    computed = count_blocks(model)
    routed = model.route(images, thresholds)
    assert routed.exit_block.tolist() == blocks
    torch.testing.assert_close(routed.logits, logits, atol=1e-5, rtol=1e-5)
    assert computed == {n: int((routed.exit_block >= n).sum()) for n in range(5)}


def replay(outputs: gfnet.ExitOutputs, thresholds: list[float]) -> tuple[list[int], Tensor]:
    """Exit blocks and logits by a plain loop over images and exits, in float32."""
    blocks, logits = [], []
    for image in range(outputs.logits.shape[1]):
        for exit_, threshold in enumerate(thresholds):
            if np.float32(outputs.gate_scores[exit_, image]) >= np.float32(threshold):
                break
        else:
            exit_ = len(thresholds)
        blocks.append(outputs.exit_blocks[exit_])
        logits.append(outputs.logits[exit_, image])
    return blocks, torch.stack(logits)


THRESHOLD = st.one_of(st.floats(0, 1, width=32), st.sampled_from([-math.inf, math.inf, 0.0, 1.0]))


@settings(max_examples=60)
@given(data=st.data())
def test_route_is_the_replay_of_all_exits(data: st.DataObject) -> None:
    """For any sizes, exits and thresholds, batch 1 routes as the all-exit pass says."""
    depth = data.draw(st.integers(1, 5))
    exits = sorted(data.draw(st.sets(st.integers(0, depth - 2)))) if depth > 1 else []
    torch.manual_seed(data.draw(st.integers(0, 9)))
    model = gfnet.create(
        data.draw(st.sampled_from(["gfnet-dynn", "gfnet-distil-dynn"])),
        img_size=6,
        patch_size=data.draw(st.sampled_from([1, 2, 3, 4])),
        embed_dim=data.draw(st.integers(2, 6)),
        depth=depth,
        num_classes=data.draw(st.integers(2, 5)),
        exit_blocks=exits,
    )
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=1)
    thresholds = data.draw(st.lists(THRESHOLD, min_size=len(exits), max_size=len(exits)))
    images = torch.randn(4, 3, 6, 6)
    for image in images.split(1):
        blocks, logits = replay(model.forward_exits(image), thresholds)
        routed = model.route(image, thresholds)
        assert routed.exit_block.tolist() == blocks
        assert torch.equal(routed.logits, logits)


def test_batched_routing_keeps_the_order_of_the_batch(lively: Callable) -> None:
    """Images leave at different exits, and each gets its own answer back."""
    model = lively(1, exit_blocks=(0, 2, 3))
    images = torch.randn(64, 3, 8, 8)
    outputs = model.forward_exits(images)
    thresholds = outputs.gate_scores.quantile(0.6, dim=1).tolist()
    blocks, logits = replay(outputs, thresholds)
    assert set(blocks) == {0, 2, 3, 4}, "the example must use every exit"
    routed = model.route(images, thresholds)
    assert routed.exit_block.tolist() == blocks
    torch.testing.assert_close(routed.logits, logits)
    for row, (block, score) in enumerate(zip(blocks, routed.gate_score.tolist(), strict=True)):
        if block == 4:
            assert math.isnan(score)
        else:
            exit_ = outputs.exit_blocks.index(block)
            assert score == pytest.approx(float(outputs.gate_scores[exit_, row]), abs=1e-6)


def count_blocks(model: gfnet.GFNet) -> Counter[int]:
    """Count the images that each block computes from now on."""
    images: Counter[int] = Counter()
    for number, block in enumerate(model.numbered_blocks()):
        block.register_forward_hook(
            lambda _module, _inputs, output, number=number: images.update({number: len(output)})
        )
    return images


def test_route_really_skips(lively: Callable) -> None:
    """A block computes exactly the images that have not left before it."""
    model = lively(1, exit_blocks=(0, 2, 3))
    images = torch.randn(64, 3, 8, 8)
    thresholds = model.forward_exits(images).gate_scores.quantile(0.6, dim=1).tolist()
    computed = count_blocks(model)
    exits = model.route(images, thresholds).exit_block
    assert len(exits.unique()) == 4
    assert computed == {n: int((exits >= n).sum()) for n in range(5)}


@pytest.mark.parametrize("leaving", range(4))
def test_infinite_thresholds_force_each_exit(leaving: int, lively: Callable) -> None:
    """+inf never leaves there, -inf always does; blocks after the exit do not run."""
    model = lively(exit_blocks=(1, 2, 3))
    thresholds = [math.inf] * leaving + [-math.inf] * (3 - leaving)
    computed = count_blocks(model)
    routed = model.route(torch.randn(3, 3, 8, 8), thresholds)
    assert routed.exit_block.tolist() == [leaving + 1] * 3
    assert set(computed) == set(range(leaving + 2))


def test_a_nan_gate_never_leaves(lively: Callable) -> None:
    """Not even at threshold 0 or -inf."""
    model = lively(exit_blocks=(0, 1, 2))
    gate = model.get_submodule("gates.1.linear")
    torch.nn.init.constant_(gate.get_parameter("bias"), math.nan)
    for threshold in (0.0, -math.inf):
        routed = model.route(torch.randn(4, 3, 8, 8), [math.inf, threshold, -math.inf])
        assert routed.exit_block.tolist() == [2] * 4


def test_thresholds_are_compared_in_float32(lively: Callable) -> None:
    """A score equal to the float32 of a threshold leaves, though the double is larger."""
    model = lively(exit_blocks=(1,))
    image = torch.randn(1, 3, 8, 8)
    score = float(model.forward_exits(image).gate_scores[0, 0])
    assert model.route(image, score + 1e-12).exit_block.item() == 1
    above = float(np.nextafter(np.float32(score), np.float32(2)))
    assert model.route(image, above).exit_block.item() == 4


def test_wrong_thresholds_are_refused(lively: Callable) -> None:
    """A vector of another length, and NaN."""
    model = lively(exit_blocks=(1, 2))
    images = torch.randn(1, 3, 8, 8)
    with pytest.raises(ValueError, match="for 2 gates"):
        model.route(images, [0.5, 0.5, 0.5])
    with pytest.raises(ValueError, match="NaN"):
        model.route(images, math.nan)
    tensor = torch.tensor([0.5, math.inf])
    assert torch.equal(model.route(images, tensor).logits, model.route(images, [0.5, 1e9]).logits)


@pytest.mark.parametrize("family", gfnet.FAMILIES)
def test_full_depth_is_the_last_exit(family: str) -> None:
    """Calling the model, its last exit, and routing that never leaves agree bit by bit."""
    torch.manual_seed(0)
    sizes = {"img_size": 32, "embed_dims": (4, 6, 5, 8), "depths": (1, 1, 2, 1)}
    if family != "gfnet-h":
        sizes = {"img_size": 9, "patch_size": 3, "embed_dim": 5, "depth": 3}
    model = gfnet.create(family, num_classes=3, **sizes)
    images = torch.randn(2, 3, model.config.img_size, model.config.img_size)
    full = model(images)
    assert torch.equal(model.forward_exits(images).logits[-1], full)
    assert torch.equal(model.route(images, math.inf).logits, full)


def test_a_batch_of_none_and_images_of_another_size(lively: Callable) -> None:
    """An empty batch gives empty answers; a wrong size says which is right."""
    model = lively(exit_blocks=(1,))
    routed = model.route(torch.randn(0, 3, 8, 8), 0.5)
    assert routed.logits.shape == (0, 4)
    assert routed.exit_block.shape == (0,)
    with pytest.raises(ValueError, match=r"takes \(B, 3, 8, 8\)"):
        model(torch.randn(1, 3, 9, 9))
    with pytest.raises(ValueError, match="no exit after block 1"):
        gfnet.create("gfnet", img_size=8, patch_size=2, embed_dim=4, depth=3).early_readout(
            torch.randn(1, 16, 4), 1
        )


@pytest.mark.parametrize("nested", [[[0.5, 0.5]], torch.zeros(2, 2)])
def test_thresholds_are_one_a_gate(lively: Callable, nested: object) -> None:
    """A table of them has no meaning."""
    model = lively(exit_blocks=(0, 1))
    with pytest.raises(ValueError, match="give one threshold, or one per gate"):
        model.route(torch.randn(1, 3, 8, 8), nested)
    assert model.route(torch.randn(2, 3, 8, 8), np.array([0.5, 0.5])).logits.shape == (2, 4)
