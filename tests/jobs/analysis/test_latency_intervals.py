"""Intervals of mean latencies, and what is never shown as a figure: from rows to the table."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import storage
from jobs.analysis.latency_intervals import MeanLatency, mean_latencies
from jobs.driver.cell_states import VALID_ROUNDS
from jobs.report.terminal import summary
from jobs.statistics.bootstrap import IntervalEstimate

LONG = "cifar10-gfnet-tuned"
IMAGES = 700

Store = Callable[..., Path]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Store a run `r` of cells given as keyword: the constant ms of each round, None: throttled."""

    def stored(
        *, images: int = IMAGES, slow_ms: float = 99.0, **cells: Sequence[float | None]
    ) -> Path:
        rows = [
            judged(cell_row(name.replace("_", "-"), i, len(ms)), list(ms).count(None))
            for i, (name, ms) in enumerate(cells.items())
        ]
        with storage.RunStore.create(tmp_path, storage.RunRow("r"), rows, {}) as run:
            for row, rounds in zip(rows, cells.values(), strict=True):
                for number, ms in enumerate(rounds):
                    columns = record_columns(row, number, images, slow_ms if ms is None else ms)
                    columns["is_throttled"] = ms is None
                    table = storage.build_table("records", columns)
                    run.commit(storage.CommitEntry(row.cell_id, number, 0), {"records": table})
        return tmp_path

    return stored


def cell_row(model: str, position: int, rounds: int) -> storage.CellRow:
    """A timed cell that is done; dynn has a threshold."""
    return storage.CellRow(
        "r",
        f"cell-{position}",
        position=position,
        kind="latency",
        model=model,
        params=15_604_618,
        depth=4,
        exit_blocks=(3,),
        dataset="cifar10",
        device="cpu",
        node="vm",
        runtime="torch",
        precision="float32",
        threads=1,
        batch_size=1,
        threshold=0.5 if model.endswith("dynn") else None,
        rounds=rounds,
        status="done",
        is_valid=True,
    )


def judged(cell: storage.CellRow, spoilt: int) -> storage.CellRow:
    """As the ledger leaves it when so many of its rounds were throttled."""
    is_valid = (cell.rounds or 0) - spoilt >= min(VALID_ROUNDS, cell.rounds or 0)
    note = f"throttled: {spoilt} of {cell.rounds} rounds" if spoilt else None
    return replace(cell, is_valid=is_valid, note=note)


def record_columns(cell: storage.CellRow, number: int, images: int, ms: float) -> dict[str, Any]:
    """Records of one round, each of as many ms."""
    return {
        "run_id": "r",
        "cell_id": cell.cell_id,
        "node": cell.node,
        "model": cell.model,
        "batch_size": 1,
        "round": number,
        "image_id": np.arange(images),
        "is_correct": True,
        "is_top5": True,
        "exit_block": 3,
        "forward_ms": ms,
        "elapsed_ms": ms + 1,
    }


def line_of(text: str, model: str, table: int) -> list[str]:
    """The words of a model's line in the first or the second table."""
    lines = [line.split() for line in text.splitlines() if line.startswith(f" {model} ")]
    return lines[table]


def test_the_interval_stands_beside_the_mean(store: Store) -> None:
    """Rounds of 1, 2 and 3 ms: a standard error of 0.577 ms, times Student's t of two degrees."""
    text = summary.ladder(store(flat=[1.0, 2.0, 3.0]), "r")
    mean, margin = line_of(text, "flat", 1)[2:4]
    assert mean == "2.000"
    assert float(margin.removeprefix("±")) == pytest.approx(4.303 * 0.577, rel=0.1)
    assert "95 %:" not in text


@pytest.mark.parametrize(("rounds", "said"), [([2.0], "1 round"), ([1.0, 3.0], "2 rounds")])
def test_few_rounds_have_no_interval_worth_showing(
    store: Store, rounds: list[float], said: str
) -> None:
    """One does not show how rounds differ; of two, 1 and 3 ms, it would be 12.7 ms to each side."""
    root = store(flat=rounds, often=[1.0, 2.0, 3.0])
    (mean,) = (found for key, found in mean_latencies(root, "r").items() if key[0] == "cell-0")
    assert mean.interval_ms is mean.margin_ms(3) is None
    text = summary.ladder(root, "r")
    assert line_of(text, "flat", 1)[2:4] == ["2.000", "–"]
    assert f"– 95 %: {said}: no interval worth showing, from 3 on (flat)" in text
    assert max(map(len, text.splitlines())) <= 80


def test_throttled_rounds_are_not_in_the_interval(store: Store) -> None:
    """The mean and its interval are of the same rounds."""
    root = store(flat=[1.0, None, 3.0], slow=[2.0, 2.0, None])
    means = mean_latencies(root, "r")
    assert means["cell-0", "vm"].forward_ms == pytest.approx((2, 0, 14.7062), rel=1e-4)
    assert means["cell-0", "vm"].rounds == 2
    assert means["cell-1", "vm"].forward_ms == pytest.approx((2, 2, 2))


def test_an_invalid_row_shows_its_mean_alone(store: Store) -> None:
    """With its mark in both tables, and the reason below with its name."""
    text = summary.ladder(store(flat=[1.0, 2.0, 3.0], hot=[2.5, None, None]), "r")
    assert line_of(text, "hot", 0)[-3:] == ["2.50", "INVALID", "–"]
    assert line_of(text, "hot", 1) == ["hot", "–", "2.500", "INVALID", *"–––––"]
    assert "INVALID" not in " ".join(line_of(text, "flat", 0) + line_of(text, "flat", 1))
    assert "– throttled: 2 of 3 rounds (hot)" in text
    assert "95 %:" not in text


def test_energy_of_an_invalid_row_is_not_shown() -> None:
    """The ladder keeps it for SQL; the table has the mark in its place."""
    row = {"forward_ms": 2.5, "energy_mj": 7.25, "energy_saving_pct": 12.5}
    assert summary._worth(row | {"is_valid": None}) == ("2.50", "7.25", "12.5 %")
    assert summary._worth(row | {"is_valid": False}) == ("2.50", "INVALID", "–")


def test_where_nothing_is_left(store: Store) -> None:
    """Dashes, with why."""
    text = summary.ladder(store(hot=[None, None]), "r")
    assert line_of(text, "hot", 0)[-3:] == ["–", "–", "–"]
    assert "– latency: every round was throttled" in text
    assert "forward latency" not in text


def test_few_samples_have_no_interval(store: Store) -> None:
    """Ten equal times would say that nothing varies."""
    text = summary.ladder(store(images=5, flat=[1.0, 3.0]), "r")
    assert line_of(text, "flat", 1)[2:4] == ["2.000", "–"]
    assert "– 95 %: too few samples for an interval" in text


def test_a_margin_reaches_to_the_farther_side_and_is_rounded_up() -> None:
    """What is shown never says that more is known; no variation is 0 all the same."""
    assert MeanLatency(IntervalEstimate(2, 1.9989, 2.0002), 3).margin_ms(3) == 0.002
    assert MeanLatency(IntervalEstimate(2, 1.9999, 2.003), 3).margin_ms(3) == 0.003
    assert MeanLatency(IntervalEstimate(2, 2 - 4e-16, 2 + 4e-16), 3).margin_ms(3) == 0


@pytest.mark.parametrize("ms", [1.3, 26.3])
def test_long_names_fit(store: Store, ms: float) -> None:
    """80 columns, with milliseconds of a slow device and an invalid row."""
    names = {LONG.replace("-", "_"): [ms, ms + 0.1], "cifar10_dynn": [ms, None, None]}
    text = summary.ladder(store(**names), "r")
    assert LONG in text
    assert "INVALID" in text
    assert max(map(len, text.splitlines())) <= 80
