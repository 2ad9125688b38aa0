"""Each family exported as a bundle, and run by a script that knows nothing of gfjobs.

The oracle is the checkpoint in torch: logits within 1e-4, and the same exits, unless a score lies
within 1e-5 of its threshold.
"""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest
import torch
from click.testing import CliRunner
from support import engines
from support.own import own_script

import gfnet
from gfnet.bundle.exit_scores import exit_scores, exits_taken
from gfnet.bundle.sessions import BundleSessions
from jobs.cli import main

CLOSE, NEAR = 1e-4, 1e-5
TINY = {"img_size": 8, "patch_size": 4, "embed_dim": 6, "num_classes": 4}
PYRAMID = {"img_size": 32, "embed_dims": (4, 6, 5, 8), "depths": (1, 2, 1, 1), "num_classes": 4}
MODELS: dict[str, dict[str, Any]] = {
    "gfnet": {"family": "gfnet", "depth": 2, **TINY},
    "gfnet-distil": {"family": "gfnet-distil", "depth": 2, **TINY},
    "gfnet-distil-dynn": {"family": "gfnet-distil-dynn", "exit_blocks": (0, 2), "depth": 4, **TINY},
    # One pixel of the nine is in no patch.
    "gfnet-dynn": {"family": "gfnet-dynn", "exit_blocks": (1,), "depth": 3, **TINY, "img_size": 9},
    # An exit within the second stage.
    "gfnet-h": {"family": "gfnet-h", "exit_blocks": (1,), **PYRAMID},
    "no gates": {
        "family": "gfnet-dynn",
        "exit_blocks": (0, 1),
        "depth": 3,
        "has_gates": False,
        **TINY,
    },
}


WITH_EXITS = [name for name, sizes in MODELS.items() if "exit_blocks" in sizes]


@pytest.fixture(scope="module")
def script() -> ModuleType:
    """What anybody writes who has the documentation alone."""
    return own_script("run_bundle")


@pytest.fixture(scope="module", params=MODELS)
def exported(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[gfnet.GFNet, Path]:
    """A checkpoint of each kind, and the folder of its bundle."""
    folder: Path = tmp_path_factory.mktemp("bundle")
    sizes = dict(MODELS[request.param])
    model = engines.of_family(sizes.pop("family"), sizes.pop("exit_blocks", ()), **sizes)
    gfnet.save_checkpoint(model, folder / "model.safetensors")
    done = CliRunner().invoke(
        main,
        ["export", str(folder / "model.safetensors"), "-o", str(folder / "bundle"), "--single"],
    )
    assert done.exit_code == 0, done.output
    return gfnet.load_checkpoint(folder / "model.safetensors"), folder / "bundle"


def thresholds_of(model: gfnet.GFNet, images: torch.Tensor) -> list[list[float]]:
    """Those at which no image exits early, all do, and about half at each exit."""
    with torch.inference_mode():
        scores = model.forward_exits(images).gate_scores
    medians = [float(row.median()) for row in scores]
    return [[2.0] * len(medians), [-1.0] * len(medians), medians]


def test_the_script_gives_the_checkpoints_answers(
    exported: tuple[gfnet.GFNet, Path], script: ModuleType
) -> None:
    """At every exit, wherever the thresholds let images go."""
    model, folder = exported
    images = engines.images_of(24, seed=1, side=model.config.img_size)
    with torch.inference_mode():
        expected = model.forward_exits(images)
    manifest, sessions = script.load(folder)
    seen: set[int] = set()
    for thresholds in thresholds_of(model, images):
        limits = torch.tensor(thresholds).reshape(-1, 1)
        clear = ((expected.gate_scores - limits).abs() > NEAR).all(dim=0)
        routed = model.route(images, thresholds)
        for row in np.flatnonzero(clear.numpy()):
            logits, block = script.route(manifest, sessions, images[row].numpy(), thresholds)
            assert block == routed.exit_block[row]
            assert np.abs(logits - routed.logits[row].numpy()).max() <= CLOSE
            seen.add(block)
    assert seen == set(expected.exit_blocks)


def test_one_graph_routes_an_image_by_itself(exported: tuple[gfnet.GFNet, Path]) -> None:
    """Its thresholds are inputs."""
    model, folder = exported
    images = engines.images_of(8, seed=1, side=model.config.img_size)
    single = gfnet.inspect_bundle(folder).manifest.single
    assert single is not None
    session = ort.InferenceSession(folder / single.file, providers=["CPUExecutionProvider"])
    names = [entry.name for entry in single.thresholds]
    for thresholds in thresholds_of(model, images)[:2]:
        routed = model.route(images, thresholds)
        limits = [np.array([each], np.float32) for each in thresholds]
        for row in range(len(images)):
            taken = {single.image.name: images[row : row + 1].numpy()}
            outputs = [entry.name for entry in single.outputs]
            logits, block, _ = session.run(outputs, taken | dict(zip(names, limits, strict=True)))
            assert block[0] == routed.exit_block[row]
            assert np.abs(logits[0] - routed.logits[row].numpy()).max() <= CLOSE


@pytest.mark.parametrize("rule", gfnet.EXIT_RULES[1:])
@pytest.mark.parametrize("exported", WITH_EXITS, indirect=True)
def test_every_exit_rule_reads_a_bundles_logits(
    exported: tuple[gfnet.GFNet, Path], rule: str
) -> None:
    """A bundle need not be exported again for another rule."""
    model, folder = exported
    images = engines.images_of(24, seed=1, side=model.config.img_size)
    with torch.inference_mode():
        expected = gfnet.with_rule(model, rule).forward_exits(images)
    found = BundleSessions(gfnet.load_bundle(folder)).exits(images.numpy())
    scores = exit_scores(found, rule)
    np.testing.assert_allclose(scores, expected.gate_scores.numpy(), atol=NEAR)
    middle = [float(row.median()) - 0.01 for row in expected.gate_scores]
    is_clear = (expected.gate_scores - torch.tensor(middle)[:, None]).abs().gt(NEAR).all(dim=0)
    routed = gfnet.with_rule(model, rule).route(images, middle).exit_block
    taken = torch.tensor(expected.exit_blocks)[exits_taken(scores, middle)]
    assert torch.equal(taken[is_clear], routed[is_clear])


def test_exits_without_gates_give_no_score(exported: tuple[gfnet.GFNet, Path]) -> None:
    """Only what a gate has learned is an output; the rest follows from logits."""
    model, folder = exported
    manifest = gfnet.inspect_bundle(folder).manifest
    has_score = {stage.score is not None for stage in manifest.stages[:-1]}
    assert has_score <= {model.exit_rule == "gate"}
    assert manifest.exit_rule == model.exit_rule
