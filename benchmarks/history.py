"""A year of nights: what it takes to ask them, and to write them, against plain DuckDB.

Makes runs with synthetic timed rows through the real store (commits, merge at the end of each run,
one compaction), and the rival: the same rows in one Parquet file, sorted by run, cell, round and
image, with DuckDB's own settings for row groups. Then both are asked in turn, each question several
times, each time with a new connection. What the ladder and a trend say must agree with what the
rival computes from the rows.

Ingest: one run more, as tables in memory. Ours are commits of shards that arrive together, each on
the disk before the next, and then the merge with the ladder; the rival's is COPY of the same
tables, sorted, and one flush. `--ingest` measures nothing else; with busy neighbours, add `--clock
processor`, which counts the time of all threads and no waiting for the disk.

A run that is finished is not made again, so a folder given with --keep can be gone on with.

    python benchmarks/history.py [--size quick|small|year] [--keep FOLDER] [--repeats 5]
                                [--ingest] [--clock wall|processor]

quick is for tests; small, the default, is 100 million records in 365 runs; year is 730 million,
needs about 35 GB of disk, and an hour or more.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa

import storage

CORES = 2
FIRST_NIGHT = datetime(2026, 1, 1, 22)  # noqa: DTZ001 (naive UTC throughout)
DEPTH = 12
EXITS = np.array([7, 9, 10, 11], dtype=np.int32)
TOP5_OF_WRONG = 0.9
ROWS_A_SHARD = 1_000
"""What a task gives at most."""

TOGETHER = (1, 8, 64)
"""Shards that arrive together."""

LADDER_AIM_S, SCAN_AIM, INGEST_AIM = 0.5, 1.1, 0.5
DONE = {"status": ["done"]}
RECORDS = "runs/*/data/records-*.parquet"
SORTED_BY = "run_id, cell_id, round, image_id"


@dataclass(frozen=True)
class Size:
    """How much is made: `images` rows in each of `cells` cells of `runs` runs."""

    runs: int
    models: int
    thresholds: int
    images: int

    @property
    def cells(self) -> int:
        """Of one run."""
        return self.models * self.thresholds

    @property
    def records(self) -> int:
        """Of all runs."""
        return self.runs * self.cells * self.images


SIZES = {
    "quick": Size(runs=3, models=2, thresholds=3, images=700),
    "small": Size(runs=365, models=10, thresholds=20, images=1_370),
    "year": Size(runs=365, models=10, thresholds=20, images=10_000),
}


def run_id_of(night: int) -> str:
    """Runs are named after their date, so that the order of names is the order of time."""
    return f"night-{FIRST_NIGHT + timedelta(days=night):%Y-%m-%d}"


def cells_of(run_id: str, size: Size) -> list[storage.CellRow]:
    """Each model at each threshold."""
    return [
        storage.CellRow(
            run_id,
            # As long as a digest, and as random.
            np.random.default_rng([model, number]).bytes(32).hex(),
            position=model * size.thresholds + number,
            kind="latency",
            model=f"model-{model}",
            checkpoint_sha256=f"{model:064x}",
            params=4_000_000 + model,
            depth=DEPTH,
            exit_blocks=tuple(int(block) for block in EXITS[:-1]),
            dataset="cifar10/test",
            dataset_sha256="d" * 64,
            device="jetson-orin-nano",
            node="board-1",
            runtime="torch",
            precision="float32",
            threads=0,
            batch_size=1,
            threshold=float(np.float32(number / size.thresholds)),
            images=size.images,
            rounds=1,
            status="done",
            rows=size.images,
            is_valid=True,
        )
        for model in range(size.models)
        for number in range(size.thresholds)
    ]


def records_of(cell: storage.CellRow, night: int, first: int, images: int) -> pa.Table:
    """Rows as a board gives them: clocks of nanoseconds, exits by a gate, most answers right."""
    generator = np.random.default_rng([night, cell.position or 0, first])
    place = generator.integers(0, len(EXITS), images)
    block = EXITS[place]
    # A night differs from the night before by a per cent or so, an image by more.
    night_factor = 1 + 0.01 * np.sin(night) + 0.02 * (cell.position or 0)
    forward_ns = (1e6 * night_factor * (1 + block) * generator.lognormal(0, 0.05, images)).round()
    elapsed_ns = forward_ns + (4e5 * generator.lognormal(0, 0.2, images)).round()
    label = generator.integers(0, 10, images, dtype=np.int32)
    is_correct = generator.random(images) < 0.8 + 0.01 * block
    score = generator.beta(4, 2, images).astype(np.float32)
    began_us = np.datetime64(FIRST_NIGHT + timedelta(days=night), "us")
    columns: dict[str, object] = {
        name: getattr(cell, name)
        for name in ("run_id", "cell_id", "node", "device", "model", "dataset", "runtime")
    }
    return storage.build_table(
        "records",
        columns
        | {
            "round": 0,
            "image_id": np.arange(first, first + images),
            "label": label,
            "prediction": np.where(is_correct, label, (label + 1) % 10).astype(np.int32),
            "is_correct": is_correct,
            "is_top5": is_correct | (generator.random(images) < TOP5_OF_WRONG),
            "loss": generator.gamma(0.3, 1, images).astype(np.float32),
            "exit_block": block,
            "gate_score": pa.array(score, mask=block == EXITS[-1]),
            "forward_ms": forward_ns / 1e6,
            "elapsed_ms": elapsed_ns / 1e6,
            "started_at": began_us + (np.cumsum(elapsed_ns) / 1e3).astype("timedelta64[us]"),
            "is_throttled": False,
            "precision": cell.precision,
            "batch_size": cell.batch_size,
            "threshold": cell.threshold,
        },
    )


def round_of(cell: storage.CellRow, night: int) -> pa.Table:
    """The state of the board around a task."""
    began_at = FIRST_NIGHT + timedelta(days=night, seconds=10 * (cell.position or 0))
    return storage.build_table(
        "rounds",
        {
            "run_id": cell.run_id,
            "cell_id": cell.cell_id,
            "round": 0,
            "node": cell.node,
            "position": cell.position,
            "started_at": began_at,
            "ended_at": began_at + timedelta(seconds=9),
            "clock_mhz": 1510.0,
            "temperature_c": 48.5,
            "power_mode": "0",
            "governor": "schedutil",
            "load": 0.01,
            "is_throttled": False,
        },
    )


def make_run(root: Path, night: int, size: Size) -> None:
    """One night, merged; nothing if it is there. One commit a cell: what is timed is asking."""
    run_id = run_id_of(night)
    began_at = FIRST_NIGHT + timedelta(days=night)
    run = storage.RunRow(run_id, name="nightly", status="running", submitted_at=began_at)
    if (root / "runs" / run_id).exists():
        if storage.query(root, "SELECT status FROM runs", run_ids=[run_id]).to_pydict() == DONE:
            return
        storage.remove_run(root, run_id)  # it was killed midway
    cells = cells_of(run_id, size)
    with storage.RunStore.create(root, run, cells, {}) as store:
        for cell in cells:
            entry = storage.CommitEntry(cell.cell_id, 0, 0, "board-1", size.images, 9.0, began_at)
            rows = {
                "records": records_of(cell, night, 0, size.images),
                "rounds": round_of(cell, night),
            }
            store.commit(entry, rows)
        store.merge()
        store.save_run(dataclasses.replace(run, status="done", finished_at=began_at))


def make_rival(root: Path, file: Path) -> None:
    """The same rows in one file; merged runs are sorted already, so their order is the file's."""
    if file.exists():
        return
    files = sorted(str(path) for path in root.glob(RECORDS))
    unfinished = file.with_suffix(".part")
    with duckdb.connect() as connection:
        connection.execute(
            f"COPY (FROM read_parquet({files})) TO '{unfinished}' "
            "(FORMAT parquet, COMPRESSION zstd)"
        )
    unfinished.rename(file)


@contextlib.contextmanager
def rival(file: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """Plain DuckDB on that file."""
    with duckdb.connect() as connection:
        connection.execute(f"CREATE VIEW records AS FROM read_parquet('{file}')")
        yield connection


FIGURES = """
    count(*) AS samples, 100 * avg(is_correct::INTEGER) AS acc1, avg(exit_block + 1) AS mean_blocks,
    avg(forward_ms) AS forward_ms, quantile_cont(forward_ms, [0.5, 0.9, 0.99]) AS percentiles_ms,
    avg(elapsed_ms) AS elapsed_ms, histogram(exit_block) AS exits
"""
SCAN = (
    "SELECT model, quantile_cont(forward_ms, [0.5, 0.9, 0.99]) AS percentiles_ms "
    "FROM records GROUP BY model ORDER BY model"
)

Question = Callable[[], pa.Table]
Call = Callable[[], object]


def questions(root: Path, file: Path, size: Size) -> dict[str, tuple[Question, Question]]:
    """What is asked of us, and how the rival is asked the same."""
    run_id, model = run_id_of(size.runs // 2), "model-1"

    def of_rival(sql: str) -> Question:
        def ask() -> pa.Table:
            with rival(file) as connection:
                return connection.sql(sql).to_arrow_table()

        return ask

    figures = f"SELECT run_id, cell_id, threshold, {FIGURES} FROM records"  # noqa: S608 (ours)
    ladder = f"{figures} WHERE run_id = '{run_id}' GROUP BY ALL"
    trend = f"{figures} WHERE model = '{model}' GROUP BY ALL"
    return {
        "ladder of one run": (
            lambda: storage.named_query(root, "summary", run_ids=[run_id]),
            of_rival(ladder),
        ),
        "ladder of one run, by SQL over all": (
            lambda: storage.query(root, f"FROM ladder WHERE run_id = '{run_id}'"),
            of_rival(ladder),
        ),
        "trend of one model": (
            lambda: storage.query(root, f"FROM trend('{model}')"),
            of_rival(trend),
        ),
        "runs": (
            lambda: storage.named_query(root, "run_progress"),
            of_rival("SELECT run_id, count(*) FROM records GROUP BY run_id"),
        ),
        "percentiles by model over all": (lambda: storage.query(root, SCAN), of_rival(SCAN)),
    }


def check_agreement(name: str, ours: pa.Table, theirs: pa.Table) -> None:
    """The means of both answers, where they have such.

    Raises: RuntimeError: they differ.
    """
    if len(ours) != len(theirs):
        raise RuntimeError(f"{name}: {len(ours)} rows, the rival has {len(theirs)}")
    if "forward_ms" in theirs.column_names:
        means = [sorted(table["forward_ms"].to_pylist()) for table in (ours, theirs)]
        if not np.allclose(means[0], means[1], rtol=1e-9, atol=0):
            raise RuntimeError(f"{name}: the means differ from the rival's")


CLOCKS = {"wall": time.perf_counter, "processor": time.process_time}


def seconds(call: Callable[[], object], clock: str = "wall") -> float:
    """What a call takes, of a wall clock or of all processors together."""
    began_s = CLOCKS[clock]()
    call()
    return CLOCKS[clock]() - began_s


def in_turn(ours: Call, theirs: Call, times: int) -> tuple[list[float], list[float]]:
    """Both, one after the other, so that what else the machine does falls on both."""
    pairs = [(seconds(ours), seconds(theirs)) for _ in range(times)]
    return [pair[0] for pair in pairs], [pair[1] for pair in pairs]


def ingest(
    folder: Path, size: Size, together: int, times: int, clock: str
) -> tuple[int, dict[str, list[float]]]:
    """Rows of one run, and what writing them took, in seconds, by what was written.

    Args:
        folder: where.
        size: of the run.
        together: shards that arrive together, and are committed in one step.
        times: of each side, in turn.
        clock: one of CLOCKS.
    """
    cells = cells_of("ingest", size)
    shards = [
        (
            storage.CommitEntry(cell.cell_id, 0, first // ROWS_A_SHARD, "board-1", rows, 1.0),
            {"records": records_of(cell, 0, first, rows)},
        )
        for cell in cells
        for first in range(0, size.images, ROWS_A_SHARD)
        if (rows := min(ROWS_A_SHARD, size.images - first))
    ]
    number = iter(range(2 * times))

    def ours() -> tuple[float, float]:
        root = folder / f"ingest-{next(number)}"
        with storage.RunStore.create(root, storage.RunRow("ingest"), cells, {}) as store:

            def commit() -> None:
                for first in range(0, len(shards), together):
                    store.commit_group(shards[first : first + together])

            return seconds(commit, clock), seconds(store.merge, clock)

    def theirs() -> None:
        file = folder / f"ingest-{next(number)}.parquet"
        with duckdb.connect() as connection:
            rows = pa.concat_tables(tables["records"] for _, tables in shards)
            connection.register("rows", rows)
            connection.execute(
                f"COPY (FROM rows ORDER BY {SORTED_BY}) TO '{file}' "
                "(FORMAT parquet, COMPRESSION zstd)"
            )
        with file.open("rb") as written:
            os.fsync(written.fileno())

    took: dict[str, list[float]] = {"committed": [], "merged too": [], "COPY": []}
    for _ in range(times):
        committing_s, merging_s = ours()
        took["committed"].append(committing_s)
        took["merged too"].append(committing_s + merging_s)
        took["COPY"].append(seconds(theirs, clock))
    return sum(entry.rows for entry, _ in shards), took


def ingest_line(together: int, rows: int, took: dict[str, list[float]]) -> str:
    """A row of the table: rows/s, and the ratios to COPY with the range of the single turns."""
    speeds = "".join(f"{rows / statistics.median(took[side]):11,.0f}" for side in took)
    ratios = {
        side: [theirs / ours for ours, theirs in zip(took[side], took["COPY"], strict=True)]
        for side in ("committed", "merged too")
    }
    shown = "".join(
        f"{statistics.median(each):6.2f} {f'({min(each):.2f}-{max(each):.2f})':14}"
        for each in ratios.values()
    )
    return f"{together:8}{speeds} {shown}".rstrip()


def print_ingest(folder: Path, size: Size, repeats: int, clock: str) -> None:
    """Print the table of writing, by how many shards arrive together."""
    print(
        f"\n{'':8}{'rows per second':>33}  {'ratio to COPY':>22}\n{'shards':8}{'committed':>11}"
        f"{'merged too':>11}{'COPY':>11}   committed (aim {INGEST_AIM:g})  merged too"
    )
    for together in TOGETHER:
        with tempfile.TemporaryDirectory(dir=folder) as beside:
            rows, took = ingest(Path(beside), size, together, repeats, clock)
        print(ingest_line(together, rows, took), flush=True)


def line(name: str, took: Sequence[Sequence[float]], aim: str) -> str:
    """A row of the table: medians, their range, and how they compare."""
    ours, theirs = (statistics.median(side) for side in took)
    ranges = [f"{min(side):.2f}-{max(side):.2f}" for side in took]
    return (
        f"{name:36}{ours:8.3f} {ranges[0]:>12}{theirs:9.3f} {ranges[1]:>13}{ours / theirs:8.3f}"
        f"  {aim}"
    )


def size_bytes(files: Iterator[Path]) -> int:
    """Of all of them."""
    return sum(file.stat().st_size for file in files)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", choices=SIZES, default="small")
    parser.add_argument("--keep", type=Path, help="where the runs stay; else they are deleted")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--ingest", action="store_true", help="time writing alone")
    parser.add_argument("--clock", choices=CLOCKS, default="wall", help="of writing")
    options = parser.parse_args()
    size: Size = SIZES[options.size]
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:CORES])
    with contextlib.ExitStack() as stack:
        folder = options.keep or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        if options.ingest:
            print_ingest(folder, size, options.repeats, options.clock)
            return
        root, file = folder / "results", folder / "sorted.parquet"
        for night in range(size.runs):
            make_run(root, night, size)
        make_rival(root, file)
        compacting_s = seconds(lambda: storage.compact(root))
        print(f"{size.records:,} records in {size.runs} runs of {size.cells} cells, {CORES} cores")
        print(f"gfjobs compact: {compacting_s:.1f} s")
        records_bytes, rival_bytes = size_bytes(root.glob(RECORDS)), file.stat().st_size
        print(
            f"bytes a record: {records_bytes / size.records:.1f}, "
            f"the rival's {rival_bytes / size.records:.1f}"
        )
        all_bytes = size_bytes(path for path in root.rglob("*") if path.is_file())
        print(f"with all other tables and summaries: {all_bytes / size.records:.1f}")
        print(f"\n{'seconds':36}{'ours':>8} {'':12}{'DuckDB':>9} {'':13}{'ratio':>8}  aim")
        for name, (our_question, rival_question) in questions(root, file, size).items():
            check_agreement(name, our_question(), rival_question())  # and both are warm
            is_scan = name.startswith("percentiles")
            aim = f"ratio <= {SCAN_AIM}" if is_scan else f"<= {LADDER_AIM_S} s"
            took = in_turn(our_question, rival_question, options.repeats)
            print(line(name, took, aim), flush=True)
        print_ingest(folder, size, options.repeats, options.clock)


if __name__ == "__main__":
    main()
