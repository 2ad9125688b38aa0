"""A target in this process whose rounds differ by as much as the test says, and a grid for it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from jobs.driver.executor import Executor
from jobs.driver.inline_executor import InlineExecutor
from jobs.plan.plan import Plan
from jobs.plan.sources import Sources
from jobs.plan.task import Outcome, Task
from jobs.runs.target import Target
from jobs.worker.run_task import run_task

NOISE = np.random.default_rng(3).normal(size=60)


@dataclass(frozen=True)
class Timed(Target):
    """This process, in which a round of `dynn` is off by the noise, and of `flat` by a tenth of it.

    Attributes:
        killed_after: timed tasks before Ctrl-C.
    """

    is_inline: bool = True
    killed_after: int | None = None

    def executor(self, plan: Plan) -> Executor:
        """Runs tasks for real, and replaces what the clock said."""
        ran: list[Task] = []

        def run(task: Task, *given: Any) -> Outcome:
            if task.is_timed:
                if len(ran) == self.killed_after:
                    raise KeyboardInterrupt
                ran.append(task)
            outcome = run_task(task, *given)
            if "records" not in outcome.tables:
                return outcome
            table = outcome.tables["records"]
            ms = 2 + 0.002 * NOISE[task.round] * (1 if task.model == "dynn" else 0.1)
            place = table.schema.get_field_index("forward_ms")
            times = table.set_column(place, table.schema.field(place), [np.full(len(table), ms)])
            return replace(outcome, tables={**outcome.tables, "records": times})

        return InlineExecutor(Sources.of(plan), run)


def make_text(
    until: str = "1%", most: int = 24, models: str = "flat.safetensors, dynn.safetensors"
) -> str:
    """A small grid."""
    return (
        f"name: until\nmodels: [{models}]\ndatasets: [{{name: digits, limit: 5}}]\n"
        "thresholds: [0.5]\nthreads: [1]\nmeasure: [latency]\n"
        f"latency: {{until: {until}, rounds: {{min: 3, max: {most}}},"
        " warmup_images: 1, images: 1}\n"
    )
