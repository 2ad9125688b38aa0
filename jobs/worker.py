"""The worker: runs one task on this machine and turns what it saw into rows. Knows no Ray."""

from __future__ import annotations

import platform
import time
import traceback
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

import gfnet
import storage
from jobs.answers import judge
from jobs.device import Device, use_device
from jobs.measure import measure_routes, warm_up
from jobs.node import describe_node
from jobs.pipeline import Pipeline
from jobs.task import Outcome, Task

KEPT_MODELS = 8
"""Models a worker keeps loaded: enough for a ladder and its rivals, small enough for 4 GB."""

NAMED_FAILURES = 5
"""Images of a shard that its note names; the rest are counted."""

_models: OrderedDict[tuple[str, tuple[int, ...], str], gfnet.GFNet] = OrderedDict()


@dataclass(frozen=True)
class _Shard:
    """A shard's images as lists and arrays, in the order they run."""

    image_ids: NDArray[np.int64]
    labels: NDArray[np.int64]
    encoded: list[bytes | None]
    paths: list[str | None]


def run_task(task: Task, weights: Callable[[], bytes], images: Any) -> Outcome:
    """Run one task; whatever fails comes back as an outcome, never as an exception.

    Args:
        task: what to do.
        weights: gives the checkpoint's bytes, asked only where the model is not loaded yet.
        images: Arrow table of the shard: image_id, path, label, image (encoded bytes).
    """
    node = None
    try:
        device = use_device(task.device)
        node = describe_node(task.run_id, device)
        model = _load(task, device, weights)
        started = time.perf_counter()
        shard = _Shard(
            image_ids=np.asarray(images.column("image_id"), dtype=np.int64),
            labels=np.asarray(images.column("label"), dtype=np.int64),
            encoded=images.column("image").to_pylist(),
            paths=images.column("path").to_pylist(),
        )
        pipeline = Pipeline(model.metadata.preprocessing, device)
        work = _latency_rows if task.kind == "latency" else _exit_rows
        tables = work(task, model, device, pipeline, shard)
        busy_s = time.perf_counter() - started
        images_done = len(shard.encoded) - len(pipeline.failures)
        return Outcome(tables, node, images_done, busy_s, note=_failures(pipeline, shard))
    except Exception:  # noqa: BLE001 - a worker's failure is a row of the run, whatever it was
        return Outcome({}, node, error=traceback.format_exc())


def _load(task: Task, device: Device, weights: Callable[[], bytes]) -> gfnet.GFNet:
    """The task's model on the device: kept from an earlier task, or loaded now."""
    key = (task.checkpoint_sha256, task.exit_blocks, device.name)
    if key not in _models:
        model = gfnet.load_checkpoint(weights(), exit_blocks=task.exit_blocks)
        _models[key] = model.to(device.name)
        if len(_models) > KEPT_MODELS:
            _models.popitem(last=False)
    _models.move_to_end(key)
    return _models[key]


def _latency_rows(
    task: Task, model: gfnet.GFNet, device: Device, pipeline: Pipeline, shard: _Shard
) -> dict[str, Any]:
    """Route the shard under the clock: one row an image in `records`."""
    import torch

    runtime = _runtime(task, model)
    gates = len(task.exit_blocks)
    encoded, batch = shard.encoded, task.batch_size
    with torch.inference_mode():
        warm_up(
            runtime,
            pipeline,
            device,
            encoded,
            gates=gates,
            batch_size=batch,
            images=task.warmup_images,
        )
        measured = measure_routes(
            runtime,
            pipeline,
            device,
            encoded,
            thresholds=task.thresholds,
            batch_size=batch,
        )
    places = np.asarray(measured.places, dtype=np.int64)
    if not len(places):
        return {}
    labels = shard.labels[places]
    last = model.config.last_block
    exits = zip(measured.gate_scores, measured.exit_blocks, strict=True)
    columns: dict[str, Any] = {
        "round": task.round,
        "image_id": shard.image_ids[places],
        "label": labels,
        "exit_block": measured.exit_blocks,
        # The last block has no gate: NULL there, where NaN would say that a gate failed.
        "gate_score": [None if block == last else score for score, block in exits],
        "forward_ms": measured.forward_ms,
        "elapsed_ms": measured.elapsed_ms,
        "started_at": measured.started_at,
    }
    columns |= judge(np.stack(measured.logits), labels).columns() | _of_cell(task, device)
    return {"records": storage.build_table("records", columns)}


def _exit_rows(
    task: Task, model: gfnet.GFNet, device: Device, pipeline: Pipeline, shard: _Shard
) -> dict[str, Any]:
    """Answer the shard at every exit: one row an image and exit in `exits`."""
    import torch

    runtime = _runtime(task, model)
    places: list[int] = []
    logits, scores, features = [], [], []
    with torch.inference_mode():
        for start in range(0, len(shard.encoded), task.batch_size):
            stop = min(start + task.batch_size, len(shard.encoded))
            tensor, kept = pipeline.bulk(shard.encoded, range(start, stop))
            if tensor is None:
                continue
            outputs = runtime.forward_exits(tensor)
            places += kept
            logits.append(outputs.logits.float().cpu())
            scores.append(outputs.gate_scores.float().cpu())
            features.append(gfnet.gate_features(outputs.logits).cpu())
    if not places:
        return {}
    blocks = (*task.exit_blocks, model.config.last_block)
    images, answers = len(places), len(places) * len(blocks)
    labels = np.tile(shard.labels[places], len(blocks))
    by_exit = torch.cat(logits, dim=1).reshape(answers, -1).numpy()
    max_prob, entropy, margin, _ = torch.cat(features, dim=1).reshape(answers, -1).numpy().T
    columns: dict[str, Any] = {
        "image_id": np.tile(shard.image_ids[places], len(blocks)),
        "label": labels,
        "exit_block": np.repeat(np.asarray(blocks, dtype=np.int32), images),
        # The last block has no gate: NULL there, where NaN says that a gate failed.
        "gate_score": [*torch.cat(scores, dim=1).flatten().tolist(), *[None] * images],
        "max_prob": max_prob,
        "margin": margin,
        "entropy": entropy,
    }
    columns |= judge(by_exit, labels).columns() | _of_cell(task, device)
    return {"exits": storage.build_table("exits", columns)}


def _runtime(task: Task, model: gfnet.GFNet) -> gfnet.Runtime:
    return gfnet.runtime(task.runtime, model, threads=task.threads, precision=task.precision)


def _of_cell(task: Task, device: Device) -> dict[str, Any]:
    """The columns that a row repeats of its cell."""
    return {
        "run_id": task.run_id,
        "cell_id": task.cell_id,
        "node": platform.node(),
        "device": device.name,
        "model": task.model,
        "dataset": task.dataset,
        "runtime": task.runtime,
        "precision": task.precision,
        "batch_size": task.batch_size,
        "threshold": task.threshold,
    }


def _failures(pipeline: Pipeline, shard: _Shard) -> str:
    """Name the images that could not be decoded; empty where all could."""
    if not pipeline.failures:
        return ""
    named = [
        f"{shard.paths[place] or 'image'} (image_id {shard.image_ids[place]}): {reason}"
        for place, reason in sorted(pipeline.failures.items())[:NAMED_FAILURES]
    ]
    more = len(pipeline.failures) - len(named)
    others = f"; and {more} more" if more else ""
    count = len(pipeline.failures)
    return f"{count} image{'s' if count > 1 else ''} not decoded: {'; '.join(named)}{others}"
