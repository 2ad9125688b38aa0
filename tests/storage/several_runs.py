"""A root of two runs of the same cells over two data sets, and one of a part of it alone.

Nothing that is measured is alike in two parts: an answer that mixes them is another number.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import numpy as np

import storage

from .conftest import NOON, Builder

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    import duckdb

RUNS = ("first", "choices")  # by their age; the second is the latest
DATASETS = {"digits/test@100": "test-digest", "digits/train@50": "train-digest"}
IMAGES = 24
GATES = (1, 2, 3)
EXITS = (*GATES, 4)
EARLY: dict[str, Any] = {"model": "dynn", "exit_blocks": GATES, "checkpoint_sha256": "c1"}

Part = tuple[str, str]
"""A run and a data set."""

PARTS: tuple[Part, ...] = tuple((run_id, dataset) for run_id in RUNS for dataset in DATASETS)
ALONE: Part = ("choices", "digits/test@100")
"""The part that has a root of its own; of the latest run."""

Row = dict[str, Any]


class Roots:
    """Connections to the whole root, and to one of a part of it."""

    def __init__(self, folder: Path, stack: contextlib.ExitStack) -> None:
        self.path = make_root(folder / "whole")
        for training_id, rows in itertools.groupby(training_rows(), lambda row: row.training_id):
            storage.TrainingLog(self.path, training_id).write(list(rows))
        self.whole = stack.enter_context(storage.connect(self.path))
        self.alone = stack.enter_context(storage.connect(make_root(folder / "alone", [ALONE])))
        cells = self.alone.sql("SELECT cell_id FROM cells").fetchall()
        self._cells = {cell_id for (cell_id,) in cells}

    def part(self, sql: str) -> list[Row]:
        """What the whole root answers of the part that is also alone."""
        return [row for row in rows_of(self.whole, sql) if self._is_of_part(row)]

    def _is_of_part(self, row: Row) -> bool:
        return (
            row.get("run_id", ALONE[0]) == ALONE[0]
            and row.get("dataset", ALONE[1]) == ALONE[1]
            and ("cell_id" not in row or row["cell_id"] in self._cells)
        )


def rows_of(connection: duckdb.DuckDBPyConnection, sql: str) -> list[Row]:
    """The rows of an answer, sorted; numbers without the digits that depend on the order."""
    # `sql` would have DuckDB understand the question twice.
    answer = connection.execute(sql)
    names = [column[0] for column in answer.description]
    rows = [dict(zip(names, map(_rounded, row), strict=True)) for row in answer.fetchall()]
    return sorted(rows, key=repr)


def _rounded(value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return [_rounded(each) for each in value]
    return float(f"{value:.9g}") if isinstance(value, float) else value


def make_root(root: Path, parts: Iterable[Part] = PARTS) -> Path:
    """Write the runs with what is named of them."""
    parts = list(parts)
    for number, run_id in enumerate(RUNS):
        datasets = [dataset for run, dataset in parts if run == run_id]
        if datasets:
            _make_run(root, run_id, number, datasets)
    return root


def _make_run(root: Path, run_id: str, number: int, datasets: list[str]) -> None:
    build = Builder(root, run_id)
    build.run = dataclasses.replace(build.run, submitted_at=NOON + timedelta(days=number))
    for dataset in datasets:
        _Part(build, dataset, np.random.default_rng([number, list(DATASETS).index(dataset)])).add()
    source = f"replay: {run_id}.csv"
    build.store([storage.NodeRow(run_id, "node-a", "cpu", power_mode="0", power_source=source)])
    with storage.RunStore.open(root, run_id) as store:
        for dataset in datasets:
            store.save_images(DATASETS[dataset], images_of(dataset))
    found = [
        storage.RegressionRow(
            run_id, "dynn", dataset, "cpu", "node-a", "torch", "float32", 1, 1, 0.5, (), "latency",
            "step", "ok", effect_pct=number + len(dataset),
        )
        for dataset in datasets
    ]  # fmt: skip
    storage.save_regressions(root, run_id, found)


def images_of(dataset: str) -> Any:
    """The same numbers and labels in each data set, of other classes: the digest tells them."""
    return storage.build_table(
        "images",
        {
            "dataset_sha256": DATASETS[dataset],
            "image_id": np.arange(IMAGES),
            "path": [f"{dataset}/{image}.png" for image in range(IMAGES)],
            "label": np.arange(IMAGES) % 3,
            "class_name": [f"{dataset}-{image % 3}" for image in range(IMAGES)],
        },
    )


def training_rows() -> list[storage.TrainingRow]:
    """Two trainings of one model, of two epochs each."""
    return [
        storage.TrainingRow(
            training_id,
            recipe="recipe",
            stage="baseline",
            model="dynn",
            dataset="digits/train",
            dataset_sha256="train-digest",
            phase="all",
            epoch=epoch,
            epochs=2,
            loss=1 / epoch,
            validation_acc1=50.0 * epoch - number,
            validation_loss=0.5,
            validation_blocks=None,
            is_best=epoch == 2,
            learning_rate=0.1,
            images_per_s=1000.0 + number,
            device="cpu",
            node="node-a",
            precision="float32",
            threads=1,
            seed=number,
            started_at=NOON,
            finished_at=NOON,
        )
        for number, training_id in enumerate(("one", "two"))
        for epoch in (1, 2)
    ]


class _Part:
    """The cells of one run and data set."""

    def __init__(self, build: Builder, dataset: str, generator: np.random.Generator) -> None:
        self._build, self._dataset, self._draw = build, dataset, generator
        self._place = list(DATASETS).index(dataset)
        self._cells = 0
        self._exit_ms = np.cumsum(generator.uniform(0.5, 1.5, len(EXITS)))

    def add(self) -> None:
        early = self._cell("exits", **EARLY, batch_size=256)
        scores = self._draw.random((len(GATES), IMAGES)).astype(np.float32)
        predictions = self._draw.integers(0, 3, (len(EXITS), IMAGES)).astype(np.int32)
        self._exits(early, scores, predictions)
        other = self._cell("exits", **EARLY, batch_size=256, threads=2)
        self._exits(other, 1 - scores, predictions[::-1])
        static = self._cell("exits", batch_size=256)
        self._exits(static, scores[:0], predictions[-1:])
        self._routed(self._cell("latency"), np.full(IMAGES, len(GATES)), predictions)
        leaves = np.vstack([scores >= np.float32(0.5), np.ones((1, IMAGES), bool)])
        routed = self._cell("latency", **EARLY, threshold=0.5)
        self._routed(routed, leaves.argmax(axis=0), predictions)
        self._forced(self._cell("exit_costs", **EARLY))
        profile = self._cell("profile", model="digits-dynn", exit_blocks=GATES)
        total_ms = self._draw.random(4) * 100
        self._build.commit(
            profile,
            profile={
                "component": ["filter", "mlp", "norm1", "residual"],
                "block": 3,
                "calls": IMAGES,
                "total_ms": total_ms,
                "share": total_ms / total_ms.sum(),
            },
        )
        agreement = {"images": IMAGES, "max_logit_difference": self._draw.random()}
        self._build.commit(routed, 0, 60, reference_agreement={"shard": 0, **agreement})
        for size in (1, 8):
            self._batches(self._cell("throughput", rounds=2, **EARLY, batch_size=size))
        for per_s in (20.0, 40.0):
            rate = {"arrivals_per_s": per_s, "arrivals_s": 4.0, "arrivals_seed": 0}
            early = {**EARLY, "threshold": 0.5, "thresholds": (0.5,) * len(GATES)}
            self._requests(self._cell("serving", rounds=2, **early, **rate))

    def _cell(self, kind: storage.CellKind, **changes: Any) -> storage.CellRow:
        position = 100 * self._place + self._cells
        self._cells += 1
        return self._build.cell(
            kind,
            cell_id=f"{kind}-{position}",
            position=position,
            dataset=self._dataset,
            dataset_sha256=DATASETS[self._dataset],
            images=IMAGES,
            **{"depth": 5, "exit_blocks": EXITS[-1:]} | changes,
        )

    def _exits(self, cell: storage.CellRow, scores: Any, predictions: Any) -> None:
        blocks = EXITS[-len(predictions) :]
        labels = np.tile(np.arange(IMAGES) % 3, len(blocks))
        rows = len(labels)
        self._build.commit(
            cell,
            exits={
                "image_id": np.tile(np.arange(IMAGES), len(blocks)),
                "label": labels,
                "exit_block": np.repeat(np.array(blocks, np.int32), IMAGES),
                "gate_score": [*scores.ravel().tolist(), *[None] * IMAGES],
                "prediction": predictions.ravel(),
                "is_correct": predictions.ravel() == labels,
                "is_top5": True,
                "loss": self._draw.random(rows).astype(np.float32),
                "max_prob": self._draw.uniform(0.4, 1, rows).astype(np.float32),
                "margin": self._draw.random(rows).astype(np.float32),
                "entropy": self._draw.random(rows).astype(np.float32),
            },
        )

    def _routed(self, cell: storage.CellRow, places: Any, predictions: Any) -> None:
        prediction = predictions[places, np.arange(IMAGES)]
        # One route differs from the replay, by its answer.
        prediction = np.where(np.arange(IMAGES) == 7, (prediction + 1) % 3, prediction)
        labels = np.arange(IMAGES) % 3
        self._build.records(
            cell,
            IMAGES,
            label=labels,
            prediction=prediction,
            is_correct=prediction == labels,
            exit_block=np.array(EXITS, np.int32)[places],
            forward_ms=self._exit_ms[places] * self._draw.uniform(0.999, 1.001, IMAGES),
        )
        self._state(cell)
        for second, phase in enumerate(("before", "active", "after")):
            watt = self._draw.uniform(3, 9) if phase == "active" else self._draw.uniform(1, 2)
            self._power(cell, phase, 2 * second, watt)

    def _forced(self, cell: storage.CellRow) -> None:
        factors = self._draw.uniform(0.99, 1.01, (IMAGES, 1))
        self._build.commit(
            cell,
            exit_costs={
                "image_id": np.repeat(np.arange(IMAGES), len(EXITS)),
                "exit_block": np.tile(np.array(EXITS, np.int32), IMAGES),
                "forward_ms": (factors * self._exit_ms / factors.mean()).ravel(),
            },
        )
        self._state(cell)
        self._power(cell, "before", 0, 1.5)
        for number, block in enumerate(EXITS):
            self._power(cell, "active", 2 * number + 2, self._draw.uniform(2, 9), exit_block=block)

    def _batches(self, cell: storage.CellRow) -> None:
        sizes = np.full(IMAGES // cell.batch_size, cell.batch_size)
        for number in range(cell.rounds or 0):
            forward_ms = sizes * self._draw.uniform(1, 2, len(sizes))
            self._build.commit(
                cell,
                number,
                throughput={
                    "batch": np.arange(len(sizes)),
                    "images": sizes,
                    "forward_ms": forward_ms,
                    "elapsed_ms": forward_ms + self._draw.random(len(sizes)),
                },
            )
            self._state(cell, number, is_throttled=self._is_throttled(number))

    def _requests(self, cell: storage.CellRow) -> None:
        """At the higher rate the last requests have no answer."""
        assert cell.arrivals_per_s is not None
        count, unanswered = 80, 5 if cell.arrivals_per_s > 30 else 0
        for number in range(cell.rounds or 0):
            arrived_ms = np.cumsum(self._draw.exponential(1000 / cell.arrivals_per_s, count))
            began_ms = arrived_ms + self._draw.random(count)
            ended_ms = began_ms + self._draw.uniform(1, 2, count)
            blocks = self._draw.choice(np.array(EXITS, np.int32), count)
            kept, missing = slice(count - unanswered), [None] * unanswered
            self._build.commit(
                cell,
                number,
                responses={
                    "request": np.arange(count),
                    "image_id": np.arange(count) % IMAGES,
                    "exit_block": [*blocks[kept].tolist(), *missing],
                    "arrived_ms": arrived_ms,
                    "began_ms": [*began_ms[kept].tolist(), *missing],
                    "ended_ms": [*ended_ms[kept].tolist(), *missing],
                },
            )
            self._state(cell, number, is_throttled=self._is_throttled(number))

    def _is_throttled(self, number: int) -> bool:
        """Whether a round under load was: the last of one run, whose cells the other has too."""
        return number == 1 and self._build.run.run_id != ALONE[0]

    def _power(
        self, cell: storage.CellRow, phase: str, second: int, watt: float, **columns: int
    ) -> None:
        self._build.commit(
            cell,
            0,
            70 + second,
            power={
                "node": cell.node,
                "rail": "total",
                "phase": phase,
                "sampled_at": [NOON + timedelta(seconds=second + late) for late in (0, 1)],
                "power_mw": 1000 * watt,
                "shard": 0,
                **columns,
            },
        )

    def _state(self, cell: storage.CellRow, number: int = 0, *, is_throttled: bool = False) -> None:
        began_at = NOON + timedelta(seconds=self._cells)
        self._build.commit(
            cell,
            number,
            40,
            rounds={
                "node": cell.node,
                "position": cell.position,
                "started_at": began_at,
                "ended_at": began_at + timedelta(seconds=1),
                "clock_mhz": 1000.0,
                "power_mode": "0",
                "governor": "performance",
                "load": 0.01,
                "is_throttled": is_throttled,
            },
        )
