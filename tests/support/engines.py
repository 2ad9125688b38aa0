"""What every engine owes: the answers of eager torch, wherever images leave."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

import gfnet
from gfnet.runtimes.int8 import CalibrationImages

SIZES = {"img_size": 8, "patch_size": 2, "embed_dim": 8, "num_classes": 4}
FURTHEST = {"float32": 1e-5, "bfloat16": 0.05, "int8": 0.03}
"""A logit from eager float32's, of logits around 1: rounding, and eight bits through blocks."""


def with_exits(exits: int, seed: int = 3) -> gfnet.GFNet:
    """One block a stage, the last one's exit included; two tokens before 16 patches."""
    blocks = tuple(range(exits - 1))
    return of_family("gfnet-distil-dynn", blocks, seed, depth=exits, **SIZES)


def of_family(
    family: str, exit_blocks: Sequence[int] = (0,), seed: int = 3, **sizes: object
) -> gfnet.GFNet:
    """A model whose scores differ from image to image."""
    torch.manual_seed(seed)
    model = gfnet.create(family, exit_blocks=tuple(exit_blocks), **({"num_classes": 4} | sizes))
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return model.eval()


def static() -> gfnet.GFNet:
    """One block, no gate."""
    torch.manual_seed(3)
    return gfnet.create("gfnet", depth=1, **SIZES).eval()


def put_on(name: str, model: gfnet.GFNet, precision: str) -> gfnet.Runtime:
    """An engine of a model, with one thread; not every processor multiplies bfloat16."""
    calibration = calibrated_on(model) if precision == "int8" else None
    try:
        return gfnet.runtime(name, model, threads=1, precision=precision, calibration=calibration)
    except gfnet.UnavailableError as err:
        if "has no bfloat16 on this CPU" not in str(err):
            raise
        pytest.skip(str(err))


def calibrated_on(model: gfnet.GFNet, count: int = 64) -> CalibrationImages:
    """Images of noise, as PNG, and so with the preprocessing that undoes what this does."""
    side = model.config.img_size
    noise = np.random.default_rng(0).integers(0, 256, (count, side, side, 3), np.uint8)

    def encoded() -> list[bytes | None]:
        return [_png(pixels) for pixels in noise]

    half = (0.5, 0.5, 0.5)
    plain = gfnet.Preprocessing(side, side, "bilinear", mean=half, std=(0.2, 0.2, 0.2))
    return CalibrationImages(f"noise {count} {side}", encoded, plain)


def _png(pixels: NDArray[np.uint8]) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def images_of(count: int, seed: int, side: int = 8) -> Tensor:
    """The same for the same seed."""
    return torch.randn(count, 3, side, side, generator=torch.Generator().manual_seed(seed))


def limits_of(model: gfnet.GFNet, first: float) -> list[float]:
    """A threshold of the first gate; nobody leaves at a later one."""
    return [first, *[2.0] * (len(model.config.exit_blocks) - 1)]


def assert_exits_are_the_models(
    model: gfnet.GFNet, runtime: gfnet.Runtime, precision: str, count: int
) -> None:
    """At every exit, and routed wherever a score is clear of its threshold."""
    images = images_of(count, seed=count, side=model.config.img_size)
    with torch.inference_mode():
        expected, found = model.forward_exits(images), runtime.forward_exits(images)
    near = {"atol": FURTHEST[precision], "rtol": 0}
    assert found.exit_blocks == expected.exit_blocks
    assert found.logits.dtype == found.gate_scores.dtype == torch.float32
    torch.testing.assert_close(found.logits, expected.logits, **near)
    torch.testing.assert_close(found.gate_scores, expected.gate_scores, **near)
    thresholds = [float(scores.median()) - 0.1 for scores in expected.gate_scores]
    routed, replayed = runtime.route(images, thresholds), model.route(images, thresholds)
    is_clear = (expected.gate_scores - torch.tensor(thresholds)[:, None]).abs() > near["atol"]
    clear = is_clear.all(dim=0)
    assert clear.any()
    assert torch.equal(routed.exit_block[clear], replayed.exit_block[clear])
    torch.testing.assert_close(routed.logits[clear], replayed.logits[clear], **near)


def assert_images_leave_in_any_mixture(model: gfnet.GFNet, runtime: gfnet.Runtime) -> None:
    """Each batch size that is left runs, down to none; what an engine gave is not written over."""
    images, last = images_of(4, seed=9), model.config.last_block
    every = runtime.forward_exits(images)
    kept = every.logits.clone()
    ascending = every.gate_scores[0].sort().values
    between = ((ascending[1:] + ascending[:-1]) / 2)[ascending.diff() > 1e-5].tolist()
    assert between
    for limit in (-1.0, *between, 2.0):
        exits = runtime.route(images, limits_of(model, limit)).exit_block
        assert torch.equal(exits == last, every.gate_scores[0] < limit)
    assert torch.equal(every.logits, kept)


def assert_one_image_leaves_where_its_scores_say(
    model: gfnet.GFNet, runtime: gfnet.Runtime, precision: str = "float32"
) -> None:
    """At each exit, with that exit's answer; what the next image gives is written elsewhere.

    In a lower precision an engine rounds elsewhere in the graph of all stages than stage by stage.
    """
    images = images_of(3, seed=4, side=model.config.img_size).split(1)
    gates = len(model.config.exit_blocks)
    blocks = (*model.config.exit_blocks, model.config.last_block)
    taken = [
        (image, exit_, runtime.route(image, _leaving_at(exit_, gates)))
        for image in images
        for exit_ in range(gates + 1)
    ]
    atol = 1e-6 if precision == "float32" else FURTHEST[precision]
    near = {"atol": atol, "rtol": 0, "equal_nan": True}
    for image, exit_, routed in taken:
        with torch.no_grad():
            every = runtime.forward_exits(image)
        score = every.gate_scores[exit_] if exit_ < gates else torch.tensor([math.nan])
        assert routed.exit_block.tolist() == [blocks[exit_]]
        torch.testing.assert_close(routed.logits, every.logits[exit_], **near)
        torch.testing.assert_close(routed.gate_score, score, **near)
        if exit_ < gates:
            above = _leaving_at(exit_ + 1, gates, nearly=float(score) + 10 * atol)
            assert runtime.route(image, above).exit_block.item() == blocks[exit_ + 1]


def _leaving_at(exit_: int, gates: int, nearly: float = math.inf) -> Sequence[float]:
    """Thresholds that let an image go there; `nearly` is that of the gate before."""
    before = [math.inf] * (exit_ - 1) + [nearly] if exit_ else []
    return [*before, *[-math.inf] * (gates - exit_)]


def assert_a_score_of_nan_lets_nobody_go(model: gfnet.GFNet, runtime: gfnet.Runtime) -> None:
    """It is not above a threshold, for one image or several, of which others may go."""
    images, last = images_of(2, seed=5), model.config.last_block
    images[0] = math.nan
    assert runtime.forward_exits(images).gate_scores.isnan().tolist() == (
        [[True, False]] * len(model.config.exit_blocks)
    )
    assert runtime.route(images[:1], 0.0).exit_block.tolist() == [last]
    assert runtime.route(images, 0.0).exit_block.tolist() == [last, 0]


def assert_a_static_model_has_one_stage(
    model: gfnet.GFNet, runtime: gfnet.Runtime, precision: str
) -> None:
    """And no gate scores; its answer is that of full depth."""
    images, last = images_of(2, seed=6), model.config.last_block
    every = runtime.forward_exits(images)
    assert every.gate_scores.shape == (0, 2)
    near = {"atol": FURTHEST[precision], "rtol": 0}
    torch.testing.assert_close(every.logits[0], model(images), **near)
    torch.testing.assert_close(runtime(images), every.logits[0])
    assert runtime.route(images, 0.5).exit_block.tolist() == [last, last]
