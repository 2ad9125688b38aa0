"""Rows and columns shared by several kinds of task: cell, round, power, agreement."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import storage
from jobs.machine.devices import Device
from jobs.machine.registration import node_name
from jobs.plan.task import Task
from jobs.worker.agreement import Agreement


def cell_columns(task: Task, device: Device) -> dict[str, Any]:
    """The columns that each row repeats from its cell."""
    return {
        "run_id": task.run_id,
        "cell_id": task.cell_id,
        "node": node_name(),
        "device": device.label,
        "model": task.model,
        "dataset": task.dataset,
        "runtime": task.runtime,
        "precision": task.precision,
        "batch_size": task.batch_size,
        "threshold": task.threshold,
    }


def round_row(task: Task, conditions: dict[str, Any]) -> dict[str, Any]:
    """The `rounds` row of a timed shard; a round has one row per shard."""
    columns: dict[str, Any] = {
        "run_id": task.run_id,
        "cell_id": task.cell_id,
        "round": task.round,
        "node": node_name(),
        "position": task.position,
    }
    return {"rounds": storage.build_table("rounds", columns | conditions)}


def power_rows(task: Task, columns: dict[str, Any]) -> dict[str, Any]:
    """The power samples of a task; no table if there are none."""
    if not columns:
        return {}
    columns = columns | {
        "run_id": task.run_id,
        "cell_id": task.cell_id,
        "round": task.round,
        "shard": task.shard.number,
        "node": node_name(),
    }
    return {"power": storage.build_table("power", columns)}


def agreement_row(task: Task, agreement: Agreement) -> dict[str, Any]:
    """The row of a shard that was compared with eager torch in float32."""
    columns: dict[str, Any] = {
        "run_id": task.run_id,
        "cell_id": task.cell_id,
        "round": task.round,
        "shard": task.shard.number,
    }
    table = storage.build_table("reference_agreement", columns | asdict(agreement))
    return {"reference_agreement": table}
