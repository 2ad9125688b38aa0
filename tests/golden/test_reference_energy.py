"""The ladder gives back the figures of the reference measurements from rows like theirs."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import storage

if TYPE_CHECKING:
    from pathlib import Path

START = datetime(2026, 1, 1)  # noqa: DTZ001 (naive UTC throughout)
IMAGES = 10_000
EXIT_COUNTS = [0, 0, 0, 0, 0, 0, 0, 2396, 0, 4217, 1666, 1721]

# model: params, forward_ms, watts while running, energy in mJ, saving in percent
REFERENCE = {
    "gfnet-xs": (15_604_618, 26.31, 13.2, 136.81, 0.0),
    "gfnet-xs-distil": (4_256_852, 16.44, 11.6, 59.18, 56.7),
    "gfnet-xs-distil-dynn": (4_299_367, 16.14, 11.0, 48.42, 64.6),
}


def samples(phase: str, seconds: list[float], watts: list[float]) -> dict[str, list[Any]]:
    """Make power samples at uneven times."""
    return {
        "phase": [phase] * len(seconds),
        "sampled_at": [START + timedelta(seconds=second) for second in seconds],
        "power_mw": [1000 * watt for watt in watts],
    }


def power_columns(watts: float) -> dict[str, object]:
    """Make samples whose mean over time is `watts` over 8 W idle, and whose plain mean is not.

    Active: 1 s on a ramp of mean `watts` + 1, 1 s of mean `watts` - 1 seen by many samples.
    """
    early = samples("active", [10, 11], [watts + 2, watts])
    dense = [11 + i / 10 for i in range(1, 11)]
    late = samples("active", dense, [watts - 2 * (second - 11) for second in dense])
    before = samples("idle_before", [0, 3, 4], [8.5, 8.5, 8.5])
    after = samples("idle_after", [20, 21, 25], [7.6, 7.6, 7.6])
    parts = (early, late, before, after)
    columns: dict[str, object] = {
        name: [value for part in parts for value in part[name]] for name in early
    }
    # 4 s at 8.5 W and 5 s at 7.6 W are 8.0 W over time; six plain samples would say 8.05.
    return columns


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Store a run of the three models, the early-exit one by an all-exit pass as well."""
    cells = []
    for position, (model, (params, *_)) in enumerate(REFERENCE.items()):
        is_early = model.endswith("dynn")
        common = {
            "model": model,
            "checkpoint_sha256": f"sha-{model}",
            "params": params,
            "depth": 12,
            "exit_blocks": (7, 9, 10) if is_early else (),
            "dataset": "cifar10",
            "dataset_sha256": "cifar",
            "device": "jetson-orin-nano",
            "node": "jetson",
            "runtime": "torch",
            "precision": "float32",
            "threads": 0,
            "status": "done",
            "is_valid": True,
        }
        threshold = 0.5 if is_early else None
        cells.append(
            storage.CellRow(
                "reference",
                f"latency-{model}",
                position=2 * position,
                kind="latency",
                batch_size=1,
                threshold=threshold,
                **common,
            )
        )
        if is_early:
            cells.append(
                storage.CellRow(
                    "reference",
                    f"exits-{model}",
                    position=2 * position + 1,
                    kind="exits",
                    batch_size=256,
                    **common,
                )
            )
    run = storage.RunRow("reference", submitted_at=START)
    with storage.RunStore.create(tmp_path, run, cells, {}) as store:
        for cell in cells:
            tables = exits_table(cell) if cell.kind == "exits" else timed_tables(cell)
            store.commit(storage.CommitEntry(cell.cell_id, 0, 0, rows=IMAGES), tables)
        store.merge()
    return tmp_path


def timed_tables(cell: storage.CellRow) -> dict[str, Any]:
    """Make records of the reference latency, and power of the reference watts."""
    _, forward_ms, watts, _, _ = REFERENCE[cell.model or ""]
    images = np.arange(IMAGES)
    records = storage.build_table(
        "records",
        {
            "run_id": cell.run_id,
            "cell_id": cell.cell_id,
            "round": 0,
            "image_id": images,
            "node": cell.node,
            "model": cell.model,
            "label": 0,
            "prediction": 0,
            "is_correct": images < 9847,
            "is_top5": True,
            "loss": 0.1,
            "exit_block": 11,
            # Half faster, half slower: the mean must come of all rows.
            "forward_ms": forward_ms + np.where(images % 2, 1.5, -1.5),
            "elapsed_ms": np.full(IMAGES, forward_ms + 2.5),
            "threshold": cell.threshold,
        },
    )
    power = storage.build_table(
        "power",
        {
            "run_id": cell.run_id,
            "cell_id": cell.cell_id,
            "round": 0,
            "node": cell.node,
            "rail": "total",
            **power_columns(watts),
        },
    )
    return {"records": records, "power": power}


def exits_table(cell: storage.CellRow) -> dict[str, Any]:
    """Make an all-exit pass in which each image first passes 0.5 where the reference has it."""
    leaves = np.repeat(np.arange(12), EXIT_COUNTS)
    tables = []
    for exit_block in (7, 9, 10, 11):
        gate = np.where(leaves <= exit_block, 0.5, 0.49).astype(np.float32)
        tables.append(
            storage.build_table(
                "exits",
                {
                    "run_id": cell.run_id,
                    "cell_id": cell.cell_id,
                    "image_id": np.arange(IMAGES),
                    "exit_block": exit_block,
                    "gate_score": None if exit_block == 11 else gate,
                    "label": 0,
                    "prediction": 0,
                    "is_correct": np.arange(IMAGES) < 9646,
                    "is_top5": np.arange(IMAGES) < 9989,
                    "loss": 0.153,
                    "node": cell.node,
                },
            )
        )
    return {
        "exits": type(tables[0]).from_batches(
            [batch for table in tables for batch in table.to_batches()]
        )
    }


@pytest.fixture
def ladder(root: Path) -> dict[str, dict[str, Any]]:
    """Read the ladder through `connect`, by model."""
    with storage.connect(root) as connection:
        rows = connection.sql("FROM ladder").to_arrow_table().to_pylist()
    assert [row["model"] for row in rows] == list(REFERENCE)
    return {row["model"]: row for row in rows}


@pytest.mark.parametrize("model", REFERENCE)
def test_energy_and_saving_are_those_of_the_reference(
    ladder: dict[str, dict[str, Any]], model: str
) -> None:
    """Power over idle times mean forward latency gives the published mJ and percent."""
    _, forward_ms, watts, energy_mj, saving_pct = REFERENCE[model]
    row = ladder[model]
    assert row["forward_ms"] == pytest.approx(forward_ms, abs=1e-9)
    assert row["power_w"] == pytest.approx(watts, abs=1e-9)
    assert row["idle_w"] == pytest.approx(8.0, abs=1e-9)
    assert row["energy_mj"] == pytest.approx(energy_mj, abs=0.005)
    assert row["energy_saving_pct"] == pytest.approx(saving_pct, abs=0.1)
    assert row["energy_gross_mj"] == pytest.approx(watts * forward_ms, abs=0.005)
    assert row["energy_elapsed_mj"] == pytest.approx((watts - 8) * (forward_ms + 2.5), abs=0.005)
    assert row["fps"] == pytest.approx(1000 / (forward_ms + 2.5))
    assert row["note"] is None


def test_exit_counts_and_mean_blocks_are_those_of_the_reference(
    ladder: dict[str, dict[str, Any]],
) -> None:
    """The all-exit pass replayed at 0.5 gives the published counts, accuracy and blocks."""
    row = ladder["gfnet-xs-distil-dynn"]
    assert row["exit_counts"] == EXIT_COUNTS
    assert row["mean_blocks"] == pytest.approx(10.03, abs=0.005)
    assert row["acc1"] == pytest.approx(96.46)
    assert row["acc5"] == pytest.approx(99.89)
    assert row["loss"] == pytest.approx(0.153)
    assert ladder["gfnet-xs"]["exit_counts"] == [0] * 11 + [IMAGES]
    assert ladder["gfnet-xs"]["acc1"] == pytest.approx(98.47)
