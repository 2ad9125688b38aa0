"""Loads a task's model, a checkpoint or a bundle, and puts it on its engine."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import gfnet
from gfnet.runtimes import is_runtime_built
from gfnet.runtimes.availability import unavailable
from gfnet.runtimes.int8 import CalibrationImages
from gfnet.tensors import Buffer
from jobs.common.errors import NEW_BUNDLE
from jobs.machine.devices import CPU, Device
from jobs.plan.task import Task
from jobs.worker.startup import Startup

LoadedModel = gfnet.GFNet | gfnet.BundleModel


def load_model(task: Task, content: Buffer, device: Device) -> LoadedModel:
    """Load the task's model onto the device; a bundle is checked, and tried on images of noise.

    Raises:
        BundleError: the bundle cannot be used.
        UnavailableError: it cannot be checked here.
    """
    if task.graph_precision is None:
        model = gfnet.load_checkpoint(content, exit_blocks=task.exit_blocks)
        return gfnet.with_rule(model, task.exit_rule).to(device.name)
    if reason := unavailable("onnx", "float32", CPU):
        raise gfnet.UnavailableError(f"a bundle is checked with ONNX Runtime: {reason}")
    try:
        bundle = gfnet.load_bundle(bytes(content))
        gfnet.try_bundle(bundle)
    except gfnet.BundleError as err:
        raise gfnet.BundleError(f"{task.model}: {err}; {NEW_BUNDLE}") from err
    return gfnet.BundleModel(
        bundle, exit_blocks=task.exit_blocks, exit_rule=task.exit_rule, device=device.name
    )


def put_on_engine(
    task: Task, model: LoadedModel, startup: Startup, calibration: Callable[[], Any] | None = None
) -> tuple[gfnet.Runtime, gfnet.Runtime]:
    """Return the model on the task's engine, and the reference; one object if both are the same.

    `calibration` is as of `jobs.worker.run_task.run_task`.

    Raises:
        UnavailableError: the engine is not available here.
        DecodeError: an image to calibrate on cannot be decoded.
    """
    name, threads, precision = task.runtime, task.threads, task.precision
    if isinstance(model, gfnet.BundleModel):
        is_built = model.is_built(name, threads=threads, precision=precision)
        with nullcontext() if is_built else startup.building():
            runtime = model.runtime(name, threads=threads, precision=precision)
        return runtime, model.reference(threads=threads)
    images = _calibration_images(task, model, calibration)
    is_built = is_runtime_built(
        name, model, threads=threads, precision=precision, calibration=images
    )
    with nullcontext() if is_built else startup.building():
        engine = gfnet.runtime(
            name, model, threads=threads, precision=precision, calibration=images
        )
    return engine, model


def _calibration_images(
    task: Task, model: gfnet.GFNet, calibration: Callable[[], Any] | None
) -> CalibrationImages | None:
    if task.calibration_sha256 is None or calibration is None:
        return None
    return CalibrationImages(
        f"{task.calibration_images} of {task.calibration_sha256}",
        lambda: calibration().column("image").to_pylist(),
        model.metadata.preprocessing,
    )
