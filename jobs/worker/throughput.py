"""Throughput: whole batches routed one after the other, each timed as a whole."""

from __future__ import annotations

from typing import Any

import storage
from jobs.machine.conditions import Watch, machine_of
from jobs.worker.rows import round_row
from jobs.worker.shard import Work
from jobs.worker.timing import measure_routes, no_garbage_collection


def throughput_rows(work: Work) -> dict[str, Any]:
    """Route the shard in batches and time them: one row per batch in `throughput`.

    The clocks are those of routed latency; a batch's time is the sum of its images' shares.
    """
    import torch

    task = work.task
    watch = Watch(machine_of(work.device))
    with torch.inference_mode():
        work.warm_up(watch)
        with no_garbage_collection():
            measured = measure_routes(work.runtime, work.timed, task.thresholds)
    conditions = watch.end()
    if not measured.places:
        return {}
    batches: dict[int, list[int]] = {}  # the images of each, as indices of `measured`
    for index, place in enumerate(measured.places):
        batches.setdefault(place // task.batch_size, []).append(index)
    columns: dict[str, Any] = {
        "run_id": task.run_id,
        "cell_id": task.cell_id,
        "round": task.round,
        "batch": list(batches),
        "images": [len(images) for images in batches.values()],
        "forward_ms": [sum(measured.forward_ms[n] for n in each) for each in batches.values()],
        "elapsed_ms": [sum(measured.elapsed_ms[n] for n in each) for each in batches.values()],
    }
    return {"throughput": storage.build_table("throughput", columns)} | round_row(task, conditions)
