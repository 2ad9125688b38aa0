"""What holds for every test: nothing is kept outside of temporary folders. A run made up.

At the end one line says what was skipped and why.
"""

from __future__ import annotations

import collections
import os
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import settings
from numpy.typing import NDArray
from support.examples import FEW, MANY

import storage

# Before torch is loaded: where several processes compute, threads of OpenMP that wait for each
# other in a loop cost many times what they compute.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

# How long an example takes tells of the machine, not of the code.
settings.register_profile(FEW, settings.default, deadline=None)
settings.register_profile(MANY, settings.default, deadline=None)
settings.load_profile(FEW)


def pytest_report_header() -> str:
    """Say why nothing moves at first."""
    return "each worker imports torch and reads all tests first: some ten seconds"


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Say in one line what was skipped, how often, and why."""
    reasons = collections.Counter(
        report.longrepr[2].removeprefix("Skipped: ")
        for report in terminalreporter.stats.get("skipped", [])
    )
    told = ", ".join(f"{number} ({reason})" for reason, number in sorted(reasons.items()))
    terminalreporter.write_line(f"skipped: {told or 'nothing'}")


@pytest.fixture(scope="session", autouse=True)
def _graphs_kept_in_a_temporary_folder(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[None]:
    """Exported graphs serve all tests of a run, and leave with it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GFJOBS_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def made_run() -> Callable[..., Path]:
    """Write a run into a results root: what is composed there agrees with what is routed.

    Its images are the first digits, its clock and meter are made up. `dynn` leaves after blocks 1,
    3 and, at last, 4; `static` has 4 blocks.
    """
    return _write_made_run


IMAGES, MADE_ROUNDS = 400, 2
_EXIT_MS = {"static": {3: 4.0}, "dynn": {1: 1.0, 3: 2.0, 4: 2.6}}
_IDLE_MW = 5000.0


def _write_made_run(
    root: Path,
    run_id: str = "made",
    *,
    kinds: Collection[str] = ("exits", "latency", "exit_costs"),
    has_power: bool = True,
    active_mw: float = 9000.0,
    names: Mapping[str, str] | None = None,
    day: int = 24,
    forced_factor: float = 1.0,
    seed: int = 7,
) -> Path:
    """Write one; the root that has it is returned.

    Args:
        root: the results root.
        run_id: its name.
        kinds: of its cells.
        has_power: whether the meter said something.
        active_mw: what it says while a cell runs; it idles at 5 W.
        names: other names than `static`, `dynn`, `digits` and `node-a`.
        day: of November, on which it was submitted.
        forced_factor: how many times as long images take that are forced to an exit.
        seed: of its scores, answers and times.
    """
    called = {name: name for name in ("static", "dynn", "digits", "node-a")} | dict(names or {})
    images = storage.open_images("digits")
    at = datetime(2026, 11, day, 2)  # noqa: DTZ001 (naive UTC throughout)
    cells = [
        storage.CellRow(
            run_id,
            f"{kind}-{model}",
            kind=kind,
            model=called[model],
            checkpoint_sha256=f"of {model}",
            params=1000,
            depth=max(exits) + 1,
            exit_blocks=tuple(exits)[:-1],
            dataset=called["digits"],
            dataset_sha256=images.sha256,
            device="cpu",
            node=called["node-a"],
            runtime="torch",
            precision="float32",
            threads=1,
            batch_size=1,
            threshold=0.5 if kind == "latency" and model == "dynn" else None,
            images=IMAGES,
            rounds=MADE_ROUNDS,
            status="done",
            is_valid=True,
        )
        for model, exits in _EXIT_MS.items()
        for kind in ("exits", "latency", "exit_costs")
        if kind in kinds and (kind, model) != ("exit_costs", "static")
    ]
    cells = [replace(cell, position=number) for number, cell in enumerate(cells)]
    grid = "models: []\ndatasets: [digits]\n"
    run = storage.RunRow(run_id, called["digits"], grid, submitted_at=at, status="done")
    source = "replay: made.csv" if has_power else None
    node = storage.NodeRow(
        run_id, called["node-a"], "cpu", python="3", torch="2", power_source=source
    )
    with storage.RunStore.create(root, run, cells, {"grid_path": "g.yaml", "base": "/"}) as store:
        store.save_nodes([node])
        store.save_images(images.sha256, images.images_table())
        for cell in cells:
            model = cell.cell_id.rpartition("-")[2]
            for round_ in range(1 if cell.kind == "exits" else MADE_ROUNDS):
                factor = forced_factor if cell.kind == "exit_costs" else 1.0
                exit_ms = {block: factor * ms for block, ms in _EXIT_MS[model].items()}
                tables = _rows_of(cell, exit_ms, images.labels[:IMAGES], round_, seed)
                if has_power and cell.kind != "exits":
                    tables["power"] = _power_of(cell, _EXIT_MS[model], at, round_, active_mw)
                entry = storage.CommitEntry(cell.cell_id, round_, 0, cell.node, IMAGES, 1.0, at)
                assert store.commit(
                    entry, {name: _built(name, cell, each) for name, each in tables.items()}
                )
        store.merge()  # as every run that is done; its summary is what readers ask first
    return root


def _rows_of(
    cell: storage.CellRow,
    exit_ms: Mapping[int, float],
    labels: NDArray[Any],
    round_: int,
    seed: int,
) -> dict[str, dict[str, Any]]:
    """What one round answered and took; scores are float32 and some of them NaN."""
    random = np.random.default_rng(seed)
    blocks, ids = np.array(list(exit_ms)), np.arange(IMAGES)
    scores = random.beta(3, 2, (len(blocks), IMAGES)).astype(np.float32)
    scores[0, :5] = np.nan
    is_right = random.random((len(blocks), IMAGES)) < np.linspace(0.7, 0.9, len(blocks))[:, None]
    answers = np.where(is_right, labels, (labels + 1 + seed % 7) % 10)  # wrong in a seed's way
    slower = 1 + 0.1 * random.gamma(2, 1, IMAGES) + 0.001 * round_
    gates = len(blocks) - 1
    if cell.kind == "latency":
        leaves = np.vstack([scores[:-1] >= np.float32(0.5), np.ones((1, IMAGES), bool)])
        exits = leaves.argmax(axis=0)
        forward_ms = np.array(list(exit_ms.values()))[exits] * slower
        return {
            "records": {
                "round": round_,
                "image_id": ids,
                "label": labels,
                "prediction": answers[exits, ids],
                "is_correct": is_right[exits, ids],
                "is_top5": True,
                "loss": 0.5,
                "exit_block": blocks[exits],
                "forward_ms": forward_ms,
                "elapsed_ms": forward_ms + 1,
            }
        }
    by_exit = {"image_id": np.tile(ids, len(blocks)), "exit_block": np.repeat(blocks, IMAGES)}
    if cell.kind == "exit_costs":
        ms = np.outer(list(exit_ms.values()), slower).ravel()
        return {"exit_costs": {"round": round_, "forward_ms": ms} | by_exit}
    gate_scores = [float(score) for score in scores[:gates].ravel()] + [None] * IMAGES
    return {
        "exits": by_exit
        | {
            "label": np.tile(labels, len(blocks)),
            "gate_score": gate_scores,
            "prediction": answers.ravel(),
            "is_correct": is_right.ravel(),
            "is_top5": True,
            "loss": 0.5,
            "max_prob": scores.ravel(),
        }
    }


def _power_of(
    cell: storage.CellRow,
    exit_ms: Mapping[int, float],
    at: datetime,
    round_: int,
    active_mw: float,
) -> dict[str, Any]:
    """Windows of three readings: idle, active (an exit at a time where exits are forced), idle."""
    active = list(exit_ms) if cell.kind == "exit_costs" else [None]
    windows = [
        ("idle_before", None),
        *(("active", block) for block in active),
        ("idle_after", None),
    ]
    rows = [
        (phase, block, at + timedelta(seconds=100 * round_ + 10 * number + second))
        for number, (phase, block) in enumerate(windows)
        for second in range(3)
    ]
    return {
        "round": round_,
        "rail": "total",
        "shard": 0,
        "phase": [phase for phase, _, _ in rows],
        "exit_block": [block for _, block, _ in rows],
        "sampled_at": [time for _, _, time in rows],
        "power_mw": [
            (active_mw if phase == "active" else _IDLE_MW) + 10 * round_ for phase, _, _ in rows
        ],
    }


def _built(name: str, cell: storage.CellRow, columns: Mapping[str, Any]) -> Any:
    """A table's rows, with the columns of their cell."""
    of_cell = {
        column: getattr(cell, column)
        for column in storage.TABLES[name].names
        if column not in columns and hasattr(cell, column)
    }
    return storage.build_table(name, {**of_cell, **columns})
