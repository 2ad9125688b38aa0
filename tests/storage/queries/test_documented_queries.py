"""Each query of the pages, as it stands there, in a root of several runs and data sets.

None may mix what belongs to different runs or data sets, and what a query computes by itself is
held to the same figures made by loops over the rows. What macros compute is held to such loops in
tests of their own; here they are held to a root that has one run and data set alone.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import pytest

from tests.storage.several_runs import (
    DATASETS,
    GATES,
    IMAGES,
    RUNS,
    Roots,
    Row,
    rows_of,
    training_rows,
)

REPOSITORY = Path(__file__).parents[3]
PAGES = (*sorted(REPOSITORY.glob("docs/*.md")), REPOSITORY / "README.md")
COMMAND = re.compile(r'^gfjobs sql "([^"]+)"', re.MULTILINE)
QUERIES = sorted({sql for page in PAGES for sql in COMMAND.findall(page.read_text())})

APART = [sql for sql in QUERIES if not re.search("describe|training|trend|served|throughputs", sql)]
"""Queries that have rows of runs, and of each run by itself; those of load are in test_load.py."""


def unlimited(sql: str) -> str:
    """A query without its LIMIT: which rows come first is another question."""
    return re.sub(r"\s+limit \d+$", "", sql, flags=re.IGNORECASE)


def test_there_are_queries() -> None:
    """The pages are found, and what they ask."""
    assert len(QUERIES) >= 35
    assert sum("'latest'" in sql or "'choices'" in sql for sql in QUERIES) >= 14


@pytest.mark.parametrize("sql", APART)
def test_an_answer_is_that_of_each_part_alone(roots: Roots, sql: str) -> None:
    """With the run and the data set in its rows, unless the query names them."""
    sql = unlimited(sql)
    found = roots.part(sql)
    assert found == rows_of(roots.alone, sql)
    assert found
    columns = found[0]
    assert "run_id" in columns or re.search(r"\('(latest|choices)'", sql)
    assert "dataset" in columns or re.search(r"dataset = '", sql)


def grouped(rows: Iterable[Row], *keys: str) -> dict[tuple[Any, ...], list[Row]]:
    """Rows by the values of some columns."""
    groups: dict[tuple[Any, ...], list[Row]] = defaultdict(list)
    for row in rows:
        groups[tuple(row[key] for key in keys)].append(row)
    return groups


Table = Callable[[str], list[Row]]


def counts(table: Table) -> list[tuple[Any, ...]]:
    """Records of each run and data set."""
    groups = grouped(table("records"), "run_id", "dataset")
    return [(*key, len(rows)) for key, rows in groups.items()]


def worst_classes(table: Table) -> list[tuple[Any, ...]]:
    """Shares of right answers by class, of the images that the rows' own data set has."""
    digests = {(row["run_id"], row["cell_id"]): row["dataset_sha256"] for row in table("cells")}
    names = {(row["dataset_sha256"], row["image_id"]): row["class_name"] for row in table("images")}
    rows = [row for row in table("records") if row["dataset"] == "digits/test@100"]
    for row in rows:
        digest = digests[row["run_id"], row["cell_id"]]
        row["class_name"] = names[digest, row["image_id"]]
    groups = grouped(rows, "run_id", "model", "threshold", "class_name")
    return [(*key, mean(row["is_correct"] for row in rows)) for key, rows in groups.items()]


def losses(table: Table) -> list[tuple[Any, ...]]:
    """Rows and mean losses by exit."""
    rows = [row for row in table("exits") if row["model"] == "dynn"]
    groups = grouped(rows, "run_id", "dataset", "exit_block")
    return [(*key, len(rows), mean(row["loss"] for row in rows)) for key, rows in groups.items()]


def rounds(table: Table) -> list[tuple[Any, ...]]:
    """Means and deviations by round."""
    groups = grouped(table("records"), "run_id", "dataset", "model", "threshold", "round")
    times = {key: [row["forward_ms"] for row in rows] for key, rows in groups.items()}
    return [(*key, mean(ms), stdev(ms)) for key, ms in times.items()]


def windows(table: Table) -> list[tuple[Any, ...]]:
    """Windows of power by phase and exit: each has two samples of one power."""
    cells = {(row["run_id"], row["cell_id"]): row for row in table("cells")}
    rows = [row | {"cell": cells[row["run_id"], row["cell_id"]]} for row in table("power")]
    for row in rows:
        row |= {name: row["cell"][name] for name in ("model", "dataset")}
    groups = grouped(rows, "run_id", "model", "dataset", "phase", "exit_block")
    return [
        (*key, len(rows) // 2, mean(row["power_mw"] / 1000 for row in rows))
        for key, rows in groups.items()
    ]


def regrets(table: Table) -> list[tuple[Any, ...]]:
    """Points by which a threshold of 0.5 misses the oracle, of each pass of the latest run."""
    rows = [row for row in table("exits") if row["run_id"] == "choices"]
    found = []
    for (_, model, dataset), of_pass in grouped(rows, "cell_id", "model", "dataset").items():
        missed = 0
        for images in grouped(of_pass, "image_id").values():
            images.sort(key=lambda row: row["exit_block"])
            left = next(
                row for row in images if row["gate_score"] is None or row["gate_score"] >= 0.5
            )
            missed += any(row["is_correct"] for row in images) and not left["is_correct"]
        found.append((model, dataset, 100 * missed / IMAGES))
    return found


def replays(thresholds: list[float]) -> Callable[[Table], list[tuple[Any, ...]]]:
    """Accuracy and blocks of each pass at thresholds."""

    def of(table: Table) -> list[tuple[Any, ...]]:
        found = []
        groups = grouped(table("exits"), "run_id", "model", "dataset", "cell_id")
        for (run_id, model, dataset, _), rows in groups.items():
            taken = []
            for images in grouped(rows, "image_id").values():
                images.sort(key=lambda row: row["exit_block"])
                limits = (thresholds * len(GATES))[: len(images) - 1]
                taken.append(
                    next(
                        row
                        for row, limit in zip(images, [*limits, None], strict=True)
                        if limit is None or row["gate_score"] >= limit
                    )
                )
            acc1 = 100 * mean(row["is_correct"] for row in taken)
            found.append(
                (run_id, model, dataset, acc1, mean(row["exit_block"] + 1 for row in taken))
            )
        return found

    return of


def changes(table: Table) -> list[tuple[Any, ...]]:
    """How the routed latency of a model changed since the run before; a pass has none."""
    groups = grouped(table("records"), "model", "dataset", "run_id")
    times = {key: mean(row["forward_ms"] for row in rows) for key, rows in groups.items()}
    found: list[tuple[Any, ...]] = []
    for dataset in DATASETS:
        first, second = (times["dynn", dataset, run_id] for run_id in RUNS)
        found += [(RUNS[0], dataset, 0.5, first, None)]
        found += [(RUNS[1], dataset, 0.5, second, 100 * (second / first - 1))]
        found += [(run_id, dataset, None, None, None) for run_id in RUNS]  # on two threads
    return found


def ladder(table: Table) -> list[tuple[Any, ...]]:
    """Routed cells, right as the pass on one thread says; and the pass on two, not timed."""
    cells = {(row["run_id"], row["cell_id"]): row["threads"] for row in table("cells")}
    exits = grouped(table("exits"), "run_id", "cell_id")
    one, two = (
        [row for key, rows in exits.items() if cells[key] == threads for row in rows]
        for threads in (1, 2)
    )
    times = grouped(table("records"), "run_id", "model", "dataset")
    return [
        *(
            (*row[:4], mean(each["forward_ms"] for each in times[row[:3]]))
            for row in replays([0.5])(lambda _: one)
        ),
        *((*row[:4], None) for row in replays([float("inf")])(lambda _: two)),
    ]


def epochs(_: Table) -> list[tuple[Any, ...]]:
    """The best accuracy of each training."""
    return [
        (row.training_id, row.model, row.stage, row.epochs, row.validation_acc1, row.images_per_s)
        for row in training_rows()
        if row.is_best
    ]


FIGURES: dict[str, tuple[Callable[[Table], list[tuple[Any, ...]]], tuple[str, ...] | None]] = {
    "count(*) from records": (counts, None),
    "join images using": (worst_classes, None),
    "from exits where": (losses, None),
    "stddev(forward_ms) from records": (rounds, None),
    "from power_windows": (windows, None),
    "sum(regret_points)": (regrets, None),
    "from at_threshold(0.613)": (
        replays([0.613]),
        ("run_id", "model", "dataset", "acc1", "mean_blocks"),
    ),
    "from trend('dynn')": (
        changes,
        ("run_id", "dataset", "threshold", "forward_ms", "forward_change_pct"),
    ),
    "max(epoch) as epochs": (epochs, None),
    "mean_blocks, forward_ms, p90_ms, p99_ms from ladder": (
        ladder,
        ("run_id", "model", "dataset", "acc1", "forward_ms"),
    ),
}
"""By what is in a query alone: its figures by loops, and which of its columns they are."""


@pytest.fixture
def table(roots: Roots) -> Table:
    """Give the rows of a table as they were written."""

    def rows(name: str) -> list[Row]:
        return roots.whole.sql(f"FROM {name}").to_arrow_table().to_pylist()

    return rows


@pytest.mark.parametrize("part", FIGURES)
def test_figures_are_those_of_loops_over_the_rows(roots: Roots, table: Table, part: str) -> None:
    """In all runs and data sets."""
    (sql,) = [query for query in QUERIES if part in query]
    by_loops, columns = FIGURES[part]
    found = rows_of(roots.whole, unlimited(sql))
    assert found
    assert nearly(tuple(row[name] for name in columns or row) for row in found) == nearly(
        by_loops(table)
    )


def nearly(rows: Iterable[tuple[Any, ...]]) -> list[Any]:
    """Sorted, to six digits."""
    return sorted(
        (tuple(f"{x:.6g}" if isinstance(x, (float, int)) else x for x in row) for row in rows),
        key=repr,
    )
