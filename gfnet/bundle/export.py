"""Exports a model as a bundle, and checks the result before it is written."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING

from gfnet.bundle.comparison import BundleComparison, compare_bundle
from gfnet.bundle.files import pack
from gfnet.bundle.graph_edits import bare, without_output
from gfnet.bundle.manifest import (
    BATCH,
    MANIFEST_NAME,
    BundleManifest,
    SingleEntry,
    StageEntry,
    TensorEntry,
)
from gfnet.bundle.manifest_text import write_bundle_manifest
from gfnet.bundle.precisions import BUNDLE_PRECISIONS
from gfnet.bundle.reader import Bundle, load_bundle
from gfnet.bundle.trial import try_bundle
from gfnet.costs import count_exit_costs

if TYPE_CHECKING:
    from torch import Tensor

    from gfnet.model import GFNet
    from gfnet.runtimes.exported import GraphMaker
    from gfnet.runtimes.int8 import CalibrationImages
    from gfnet.runtimes.stages import Stage

_SINGLE = "single.onnx"
_SCORES = "gate_scores"


@dataclass(frozen=True)
class ExportedBundle:
    """A bundle that agrees with its model.

    Attributes:
        bundle: as the reader has it.
        comparison: how its answers differ from the model's.
    """

    bundle: Bundle
    comparison: BundleComparison


def export_bundle(
    model: GFNet,
    name: str,
    images: Tensor,
    *,
    precision: str = "float32",
    has_single: bool = False,
    origin: str = "",
    calibration: CalibrationImages | None = None,
) -> ExportedBundle:
    """Cut a model at its exits, export its stages, and compare them with the model.

    Args:
        model: loaded, on the CPU.
        name: of the model; characters that no manifest has in a name become hyphens.
        images: (B, 3, H, W), prepared for the model, to compare on.
        precision: one of BUNDLE_PRECISIONS.
        has_single: whether to add the graph that routes one image by itself.
        origin: what the model came from, for the manifest.
        calibration: for int8, which needs it.

    Raises:
        BundleError: the exported graphs do not give the model's answers.
    """
    from gfnet.runtimes.gpu_graphs import GPU_OPSET, for_gpu_graphs, gpu_graph
    from gfnet.runtimes.int8 import int8_graphs
    from gfnet.runtimes.routed import routed_onnx
    from gfnet.runtimes.stages import cut

    # Such graphs run on a CPU too. Those in int8 are made of those in float32.
    stages = cut(for_gpu_graphs(model, "float32" if calibration else precision))
    graph_of = int8_graphs(calibration, GPU_OPSET) if calibration else gpu_graph
    costs = _stage_costs(model)
    files = {f"stage_{number}.onnx": _graph(each, graph_of) for number, each in enumerate(stages)}
    entries = [
        _entry(stage, *file, *cost)
        for stage, file, cost in zip(stages, files.items(), costs, strict=True)
    ]
    single = None
    if has_single:
        files[_SINGLE] = bare(routed_onnx(stages, graph_of))
        single = _single_entry(model, files[_SINGLE])
    manifest = replace(
        _manifest(model, entries),
        name=_allowed(name),
        precision=precision,
        single=single,
        origin=origin,
    )
    bundle = load_bundle(pack({MANIFEST_NAME: write_bundle_manifest(manifest)} | files))
    sessions = try_bundle(bundle)
    tolerance = BUNDLE_PRECISIONS[precision]
    return ExportedBundle(bundle, compare_bundle(model, bundle, sessions, images, tolerance))


def _manifest(model: GFNet, entries: Sequence[StageEntry]) -> BundleManifest:
    """Say what follows from the model alone."""
    from gfnet.runtimes.gpu_graphs import GPU_OPSET

    return BundleManifest(
        name=model.config.family,
        preprocessing=model.metadata.preprocessing,
        classes=model.config.num_classes,
        exit_rule=model.exit_rule,
        precision="float32",
        opset=GPU_OPSET,
        stages=tuple(entries),
        class_names=model.metadata.class_names,
        thresholds=model.metadata.thresholds,
    )


def _graph(stage: Stage, graph_of: GraphMaker) -> bytes:
    """Return a stage's graph; with a score only if a gate gives it, since all else is in logits."""
    graph = graph_of(stage)
    if stage.has_gate and stage.model.exit_rule != "gate":
        graph = without_output(graph, _SCORES)
    return bare(graph)


def _stage_costs(model: GFNet) -> list[tuple[int, int]]:
    """Return multiply-adds and parameters of each stage: what its exit costs beyond the one before.

    Filters are matrix products in the graphs.
    """
    costs = count_exit_costs(model.config, model.exit_rule)
    sums = [(0, 0), *((cost.matrix_multiply_adds, cost.params) for cost in costs)]
    return [(adds - a, params - p) for (a, p), (adds, params) in pairwise(sums)]


def _entry(
    stage: Stage, file: str, graph: bytes, multiply_adds: int, parameters: int
) -> StageEntry:
    """Describe a stage by its model's sizes; the reader holds the graph to them."""
    from gfnet.runtimes.exported import ENTERING

    has_score = stage.has_gate and stage.model.exit_rule == "gate"
    return StageEntry(
        file,
        hashlib.sha256(graph).hexdigest(),
        exit_block=stage.last,
        inputs=(_float(ENTERING, BATCH, *stage.entering_shape),),
        state=(_float("tokens", BATCH, *stage.leaving_shape),) if stage.has_gate else (),
        logits=_float("logits", BATCH, stage.model.config.num_classes),
        score=_float(_SCORES, BATCH) if has_score else None,
        multiply_adds=multiply_adds,
        parameters=parameters,
    )


def _single_entry(model: GFNet, graph: bytes) -> SingleEntry:
    from gfnet.runtimes.routed import IMAGE, OUTPUTS, limit_name

    config = model.config
    logits, exit_block, score = OUTPUTS
    return SingleEntry(
        _SINGLE,
        hashlib.sha256(graph).hexdigest(),
        image=_float(IMAGE, 1, 3, config.img_size, config.img_size),
        thresholds=tuple(_float(limit_name(gate), 1) for gate in range(len(config.exit_blocks))),
        logits=_float(logits, 1, config.num_classes),
        exit_block=TensorEntry(exit_block, "int64", (1,)),
        score=_float(score, 1),
    )


def _float(name: str, *shape: int | str) -> TensorEntry:
    return TensorEntry(name, "float32", shape)


def _allowed(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]", "-", name).lstrip("._-")[:100] or "model"
