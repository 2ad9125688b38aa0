"""Nights that were never run: rows as a worker would have left them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

import storage

FIRST_NIGHT = datetime(2026, 1, 1, 3)  # noqa: DTZ001 - naive UTC, as in all rows
IMAGES = 200
IDLE_W = 5.0


@dataclass
class Nights:
    """Writes runs of one name, a day apart, each of some static models in one round or more."""

    root: Path
    rounds: int = 2
    written: list[str] = field(default_factory=list)

    def add(
        self,
        forward_ms: Mapping[str, float],
        wrong: Sequence[int] = (),
        *,
        run_id: str | None = None,
        name: str = "nightly",
        throttled: int = 0,
        power_w: Mapping[str, float] | None = None,
        factors: Mapping[str, Sequence[float]] | None = None,
        unread: int = 0,
        lost: Collection[str] = (),
        of_model: Mapping[str, Mapping[str, Any]] | None = None,
        **changes: Any,
    ) -> str:
        """Write a night.

        Args:
            forward_ms: by model, or by model and threshold, as in `dynn@0.5`.
            wrong: image ids that all models answer wrongly.
            run_id: the night's; default: its number.
            name: of the run; another is no night.
            throttled: rounds of all cells that are.
            power_w: by model, while it runs; idle it is IDLE_W. Of models that are not there, and
                of all where it is None, nobody looks.
            factors: by model, what the times of each round are multiplied with; of all others 1.
            unread: first rounds, which take ten times as long, and whose power nobody reads.
            lost: models whose logits are not finite.
            of_model: changes of the cells of some models.
            changes: of its cells.
        """
        run_id = run_id or f"night-{len(self.written):02}"
        submitted = FIRST_NIGHT + timedelta(days=len(self.written))
        run = storage.RunRow(run_id, name=name, submitted_at=submitted)
        own = of_model or {}
        cells = [
            self._cell(run_id, place, model, throttled, {**changes, **own.get(model, {})})
            for place, model in enumerate(forward_ms)
        ]
        with storage.RunStore.create(self.root, run, cells, {}) as store:
            for cell, model in zip(cells, forward_ms, strict=True):
                for round_ in range(self.rounds):
                    times = (factors or {}).get(model, [1.0] * self.rounds)
                    ms = forward_ms[model] * times[round_] * (10 if round_ < unread else 1)
                    tables = {
                        "records": _records(
                            cell, round_, ms, wrong, is_throttled=round_ < throttled
                        )
                    }
                    if model in lost:
                        tables["records"] = _lost(tables["records"])
                    if power_w and model in power_w and round_ >= unread:
                        tables["power"] = _power(cell, round_, power_w[model])
                    entry = storage.CommitEntry(
                        cell.cell_id, round_, 0, "node-a", IMAGES, 1.0, FIRST_NIGHT
                    )
                    assert store.commit(entry, tables)
            store.save_run(storage.RunRow(run_id, name=name, submitted_at=submitted, status="done"))
        self.written.append(run_id)
        return run_id

    def _cell(
        self, run_id: str, place: int, model: str, throttled: int, changes: Mapping[str, Any]
    ) -> storage.CellRow:
        columns = {
            "checkpoint_sha256": f"sha-{model}",
            "dataset_sha256": "d0",
            "depth": 4,
            "exit_blocks": (),
            "threads": 1,
            "images": IMAGES,
            "rounds": self.rounds,
            "warmup_images": 10,
            "is_valid": self.rounds - throttled >= 2,
            "protocol": 1,
            **changes,
        }
        name, _, threshold = model.partition("@")
        return storage.CellRow(
            run_id,
            f"{run_id}-{model.replace('@', '-at-')}",
            position=place,
            kind="latency",
            model=name,
            threshold=float(threshold) if threshold else None,
            dataset="digits",
            device="cpu",
            node="node-a",
            runtime="torch",
            precision="float32",
            batch_size=1,
            status="done",
            **columns,
        )


def _records(
    cell: storage.CellRow,
    round_: int,
    forward_ms: float,
    wrong: Sequence[int],
    *,
    is_throttled: bool,
) -> pa.Table:
    """Images that take their time in every round alike."""
    image_id = np.arange(IMAGES)
    is_correct = ~np.isin(image_id, list(wrong))
    of_cell = ("run_id", "cell_id", "node", "device", "model", "dataset", "runtime", "precision")
    return storage.build_table(
        "records",
        {
            **{column: getattr(cell, column) for column in (*of_cell, "batch_size")},
            "round": round_,
            "image_id": image_id,
            "label": 1,
            "prediction": np.where(is_correct, 1, 2),
            "is_correct": is_correct,
            "exit_block": 3,
            "forward_ms": forward_ms * (1 + 0.2 * np.sin(image_id)) * (3 if is_throttled else 1),
            "elapsed_ms": 2 * forward_ms,
            "is_throttled": is_throttled,
        },
    )


def _lost(records: pa.Table) -> pa.Table:
    """The same without an answer."""
    columns: dict[str, object] = records.to_pydict()
    columns |= {"loss": np.nan, "prediction": None, "is_correct": None, "is_top5": None}
    return storage.build_table("records", columns)


def _power(cell: storage.CellRow, round_: int, power_w: float) -> pa.Table:
    """Readings a second apart: three before the round and three in it."""
    return storage.build_table(
        "power",
        {
            "run_id": cell.run_id,
            "cell_id": cell.cell_id,
            "round": round_,
            "node": cell.node,
            "rail": "total",
            "phase": ["idle_before"] * 3 + ["active"] * 3,
            "sampled_at": [FIRST_NIGHT + timedelta(seconds=second) for second in range(6)],
            "power_mw": [1000 * IDLE_W] * 3 + [1000 * power_w] * 3,
            "shard": 0,
        },
    )


@pytest.fixture
def nights(tmp_path: Path) -> Nights:
    """Nothing yet."""
    return Nights(tmp_path / "results")
