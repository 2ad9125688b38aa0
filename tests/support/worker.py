"""A worker's tasks in this process: of a small grid, and what they are made of."""

from __future__ import annotations

from typing import Any

import torch

import gfnet
from jobs.plan.order import make_blocks
from jobs.plan.plan import Plan
from jobs.plan.sources import Sources
from jobs.plan.task import Task
from jobs.worker.run_task import run_task

GRID = """\
models: [flat.safetensors, dynn.safetensors]
datasets: [{name: digits, limit: 20}]
thresholds: [[0.4, 0.6]]
threads: [1]
batch_sizes: {accuracy: 8}
measure: [accuracy, latency, exit_costs, profile]
latency: {rounds: 1, warmup_images: 2}
"""


class Bench:
    """The tasks of a grid, and how to run them."""

    def __init__(self, plan: Plan) -> None:
        queue = make_blocks(plan, by_device=False)[0].tasks("r", frozenset())
        self.tasks = list(queue)
        self.sources = Sources.of(plan)

    def task(self, kind: str, model: str) -> Task:
        """The only task of a cell."""
        (task,) = [t for t in self.tasks if (t.kind, t.model) == (kind, model)]
        return task

    def model(self, task: Task) -> gfnet.GFNet:
        """The task's model, loaded anew."""
        return gfnet.load_checkpoint(self.sources.weights(task), exit_blocks=task.exit_blocks)

    def images(self, task: Task) -> tuple[torch.Tensor, list[int], list[int]]:
        """All images of a task as one batch, their ids and labels."""
        table = self.sources.shard(task).to_pydict()
        steps = gfnet.transform(self.model(task).metadata.preprocessing)
        batch = torch.stack([steps(gfnet.decode(image)) for image in table["image"]])
        return batch, table["image_id"], table["label"]

    def rows(self, task: Task, table: str) -> dict[str, list[Any]]:
        """Run a task and take one of its tables."""
        outcome = run_task(task, lambda: self.sources.weights(task), self.sources.shard(task))
        assert not outcome.error, outcome.error
        assert outcome.tables.keys() == {table} | ({"rounds"} if task.is_timed else set())
        columns: dict[str, list[Any]] = outcome.tables[table].to_pydict()
        return columns
