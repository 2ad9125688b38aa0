"""The worker: runs one task on this machine and always returns an outcome. Independent of Ray."""

from __future__ import annotations

import time
import traceback
from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

import gfnet
from gfnet.tensors import Buffer
from jobs.common.errors import CorruptedError
from jobs.machine.devices import Device, use_device
from jobs.machine.heartbeat import count_batch
from jobs.machine.node_info import describe_node
from jobs.machine.slots import Slot
from jobs.plan.task import Outcome, Task, TaskResources
from jobs.plan.unsupported import explain_skip
from jobs.worker.input_pipeline import Pipeline
from jobs.worker.kinds import run_kind
from jobs.worker.loading import LoadedModel, load_model
from jobs.worker.memory import MemoryLackError
from jobs.worker.peak_memory import PeakMemory
from jobs.worker.shard import ShardImages
from jobs.worker.startup import Startup

KEPT_MODELS = 8
"""Models that a worker keeps loaded: enough for a ladder and its rivals, few enough for 4 GB."""

NAMED_FAILURES = 5
"""How many failed images of a shard are named; the rest are counted."""

TORCH_RUNTIMES = ("torch", "compile")
"""Engines whose memory on a GPU is torch's, which counts it."""

TURNED = "EXIF orientations of images are ignored: `gfjobs import --exif apply` turns them"

_models: OrderedDict[tuple[str, tuple[int, ...], str, str, int], LoadedModel] = OrderedDict()


def run_task(
    task: Task,
    weights: Callable[[], Buffer],
    images: Any,
    slot: Slot | None = None,
    calibration: Callable[[], Any] | None = None,
) -> Outcome:
    """Run one task; any failure is returned as an outcome, never raised.

    Args:
        task: what to do.
        weights: returns the bytes of the checkpoint, or of the bundle as a zip; called only if the
            model is not loaded yet.
        images: Arrow table of the shard: image_id, path, label, image (encoded bytes).
        slot: which device of this machine; None: the device that the task's name for it means here.
        calibration: returns the Arrow table of the images from which its graphs are made; called
            only if it is a checkpoint in int8, and its graphs are not on this host yet.
    """
    node = None
    try:
        device = use_device(slot.device, slot.number) if slot else use_device(task.device)
        node = describe_node(task.run_id, device)
        if reason := explain_skip(
            task.kind, task.runtime, task.precision, device.name, task.graph_precision
        ):
            return Outcome({}, node, skipped=reason)
        peaks = PeakMemory(device)
        model, startup = _load(task, device, weights)
        count_batch()
        started = time.perf_counter()
        shard = ShardImages(
            image_ids=np.asarray(images.column("image_id"), dtype=np.int64),
            labels=np.asarray(images.column("label"), dtype=np.int64),
            encoded=images.column("image").to_pylist(),
            paths=images.column("path").to_pylist(),
        )
        pipeline = Pipeline(model.metadata.preprocessing, device)
        done = run_kind(task, model, pipeline, shard, startup, calibration=calibration)
        busy_s = time.perf_counter() - started - done.added_s
        images_done = len(shard.encoded) - len(pipeline.failures)
        turned = TURNED if pipeline.is_turned else ""
        note = "; ".join(filter(None, (done.note, turned)))
        undecoded = tuple(_failures(pipeline, shard, task.dataset))
        return Outcome(
            done.tables,
            node,
            images_done,
            busy_s,
            note,
            undecoded,
            resources=TaskResources(
                startup.load_s,
                startup.build_s,
                startup.first_answer_s,
                peaks.process_bytes(),
                peaks.device_bytes() if task.runtime in TORCH_RUNTIMES else None,
            ),
            ended_s=time.time(),
        )
    except gfnet.UnavailableError as err:
        return Outcome({}, node, skipped=str(err))
    except (MemoryLackError, gfnet.BundleError, gfnet.DecodeError) as err:
        return Outcome({}, node, error=str(err))
    except CorruptedError as err:
        return Outcome({}, node, error=str(err), is_lost=True, is_corrupted=True)
    except Exception:  # noqa: BLE001 - any failure of a worker becomes a row of the run
        return Outcome({}, node, error=traceback.format_exc())


def _load(task: Task, device: Device, weights: Callable[[], Buffer]) -> tuple[LoadedModel, Startup]:
    """The task's model on the device: cached from an earlier task, or loaded now."""
    startup = Startup()
    key = (task.checkpoint_sha256, task.exit_blocks, task.exit_rule, device.name, device.number)
    if key not in _models:
        content = weights()
        startup = Startup()  # fetching is the cluster's time, not the model's
        with startup.loading():
            _models[key] = load_model(task, content, device)
            device.synchronise()
        if len(_models) > KEPT_MODELS:
            _models.popitem(last=False)
    _models.move_to_end(key)
    return _models[key], startup


def _failures(pipeline: Pipeline, shard: ShardImages, dataset: str) -> Iterator[str]:
    """Yields the images that could not be decoded: alike for each cell that meets them."""
    places = sorted(pipeline.failures)
    for place in places[:NAMED_FAILURES]:
        name, reason = shard.paths[place] or "image", pipeline.failures[place]
        text = f"{name} of {dataset} (image_id {shard.image_ids[place]}) not decoded: {reason}"
        yield text.replace("; ", ", ")  # which would begin another note
    if more := [int(shard.image_ids[place]) for place in places[NAMED_FAILURES:]]:
        yield f"{len(more)} more of {dataset} not decoded (image_id {min(more)} to {max(more)})"
