"""Builders of small runs, shared by the tests of storage."""

from __future__ import annotations

import contextlib
import dataclasses
import os
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import storage
from storage.backends.local import LocalBackend
from storage.results import views
from storage.runs import merge

from .plain_ladder import plain_ladder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import pyarrow as pa

    from .in_memory import InMemory, Memory
    from .one_run import Made
    from .several_runs import Roots

NOON = datetime(2026, 11, 24, 12)  # noqa: DTZ001 (naive UTC throughout)

_OF_CELL = (
    "run_id",
    "cell_id",
    "node",
    "device",
    "model",
    "dataset",
    "runtime",
    "precision",
    "batch_size",
    "threshold",
)


class Builder:
    """Makes rows of one run with sensible values, and stores them."""

    def __init__(self, root: Path, run_id: str = "run-1") -> None:
        """Build below `root`."""
        self.root = root
        self.run = storage.RunRow(run_id, name=run_id, status="running", submitted_at=NOON)
        self.cells: list[storage.CellRow] = []
        self.tables: list[tuple[storage.CommitEntry, dict[str, pa.Table]]] = []

    def cell(self, kind: storage.CellKind = "latency", **changes: Any) -> storage.CellRow:
        """Add a cell: a static model of four blocks unless told otherwise."""
        number = len(self.cells)
        cell = storage.CellRow(
            self.run.run_id,
            f"{kind}-{number}",
            position=number,
            kind=kind,
            model="static",
            checkpoint_sha256="c0",
            params=1000,
            depth=4,
            exit_blocks=(3,),
            dataset="digits",
            dataset_sha256="d0",
            device="cpu",
            node="node-a",
            runtime="torch",
            precision="float32",
            threads=1,
            batch_size=1,
            images=10,
            rounds=1,
            status="done",
            is_valid=True,
        )
        cell = dataclasses.replace(cell, **changes)
        self.cells.append(cell)
        return cell

    def commit(
        self, cell: storage.CellRow, round_: int = 0, shard: int = 0, **tables: dict[str, object]
    ) -> None:
        """Plan a commit; the columns of the cell are added to each table."""
        entry = storage.CommitEntry(
            cell.cell_id, round_, shard, node=cell.node, rows=10, busy_s=2.5, committed_at=NOON
        )
        built = {
            name: storage.build_table(
                name,
                {
                    **{
                        column: getattr(cell, column)
                        for column in _OF_CELL
                        if column in storage.TABLES[name].names
                    },
                    **({"round": round_} if "round" in storage.TABLES[name].names else {}),
                    **columns,
                },
            )
            for name, columns in tables.items()
        }
        self.tables.append((entry, built))

    def records(self, cell: storage.CellRow, n: int, round_: int = 0, **columns: object) -> None:
        """Plan `n` records of one round, all right, all through the last block in 2 ms."""
        self.commit(
            cell,
            round_,
            records={
                "image_id": np.arange(n),
                "label": 1,
                "prediction": 1,
                "is_correct": True,
                "is_top5": True,
                "loss": 0.5,
                "exit_block": 3,
                "forward_ms": 2.0,
                "elapsed_ms": 4.0,
                **columns,
            },
        )

    def power(
        self,
        cell: storage.CellRow,
        phase: str,
        seconds: Sequence[float],
        watts: Sequence[float],
        *,
        round_: int = 0,
        shard: int = 50,
        rail: str = "total",
    ) -> None:
        """Plan power samples at `seconds` after noon."""
        self.commit(
            cell,
            round_,
            shard,
            power={
                "node": cell.node,
                "rail": rail,
                "phase": phase,
                "sampled_at": [NOON + timedelta(seconds=second) for second in seconds],
                "power_mw": [1000.0 * watt for watt in watts],
            },
        )

    def store(self, nodes: Sequence[storage.NodeRow] = (), *, merge: bool = False) -> None:
        """Write all that was planned, as a finished run."""
        with storage.RunStore.create(self.root, self.run, self.cells, {}) as store:
            store.save_nodes(nodes)
            for entry, tables in self.tables:
                assert store.commit(entry, tables)
            if merge:
                store.merge()
            store.save_run(dataclasses.replace(self.run, status="done"))

    def query(self, sql: str) -> list[dict[str, Any]]:
        """Ask of all runs of the root."""
        rows: list[dict[str, Any]] = storage.query(self.root, sql).to_pylist()
        return rows

    def ladder(self) -> list[dict[str, Any]]:
        """Read the run's ladder."""
        return self.query(f"FROM ladder WHERE run_id = '{self.run.run_id}'")


def ask(root: Path, **questions: str) -> dict[str, Any]:
    """The rows of each question, of one statement: a root is opened once for all."""
    lists = [
        f"(SELECT list(r) FROM ({sql}) r) AS {name}"  # noqa: S608 (a test's own)
        for name, sql in questions.items()
    ]
    (row,) = storage.query(root, f"SELECT {', '.join(lists)}").to_pylist()
    return {name: rows or [] for name, rows in row.items()}


@pytest.fixture(scope="package")
def roots(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Roots]:
    """Give a root of several runs and data sets, and a part of it alone; for reading."""
    from .several_runs import Roots  # which is made of the builder above

    with contextlib.ExitStack() as stack, pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda _: None)
        yield Roots(tmp_path_factory.mktemp("roots"), stack)


@pytest.fixture(autouse=True)
def unsynced(monkeypatch: pytest.MonkeyPatch) -> None:
    """Skip fsync: it guards against power cuts, which no test makes, and takes half the time."""
    monkeypatch.setattr(os, "fsync", lambda _: None)


@pytest.fixture
def short_ladder() -> Iterator[None]:
    """Take the plain ladder in the place of the ladder."""
    with plain_ladder():
        yield


@pytest.fixture(scope="package")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[bool, Made]:
    """Give roots of one run to be copied and damaged, by whether it is merged."""
    from .one_run import Made, whole, write_run  # which are made of the builder above

    found = {}
    with plain_ladder(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda _: None)
        for is_merged in (False, True):
            root = tmp_path_factory.mktemp("made")
            write_run(root, is_merged=is_merged)
            found[is_merged] = Made(root, whole(root))
    return found


@pytest.fixture
def merged(made: dict[bool, Made], tmp_path: Path) -> Made:
    """A merged run that can be damaged."""
    from .one_run import copied

    return copied(made[True], tmp_path)


@pytest.fixture
def stored(tmp_path: Path) -> Builder:
    """Give a builder of one run in files, also where `build` is another."""
    return Builder(tmp_path / "results")


@pytest.fixture
def build(stored: Builder) -> Builder:
    """Give a builder of one run."""
    return stored


@pytest.fixture(scope="package")
def memory() -> Iterator[Memory]:
    """Give a database in memory with all questions."""
    from .in_memory import Memory  # which is made of the builder above

    with contextlib.closing(Memory()) as found:
        yield found


@pytest.fixture
def in_memory(memory: Memory, tmp_path: Path) -> InMemory:
    """Give a builder of runs that are asked and not written."""
    from .in_memory import InMemory

    memory.clear()
    return InMemory(memory, tmp_path / "results")


@pytest.fixture
def build_run(tmp_path: Path) -> Callable[[str], Builder]:
    """Give a maker of builders of several runs under one root."""
    return lambda run_id: Builder(tmp_path / "results", run_id)


@pytest.fixture
def on_each_step(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], None]], None]:
    """Give a way to run something before every step that changes the disk."""

    def install(action: Callable[[], None]) -> None:
        def patch(owner: object, name: str) -> None:
            original = getattr(owner, name)

            def step(*args: Any, **options: Any) -> Any:
                action()
                return original(*args, **options)

            monkeypatch.setattr(owner, name, step)

        patch(Path, "replace")
        patch(Path, "unlink")
        patch(LocalBackend, "write")
        patch(LocalBackend, "sync")
        patch(merge, "_copy_sorted")

    return install


@pytest.fixture
def computing(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Which runs' rows were read for a summarised view, a list for each time."""
    asked: list[list[str]] = []
    real = views._create_tables

    def noted(connection: Any, mount: Any, schema: str, contents: Any, names: Any) -> None:
        if {"records", "exits"} & set(names):
            asked.append([run.run_id for run in contents.runs])
        real(connection, mount, schema, contents, names)

    monkeypatch.setattr(views, "_create_tables", noted)
    return asked
