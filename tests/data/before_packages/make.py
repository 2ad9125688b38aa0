"""Make made.tar.gz: results, nights and a training as an earlier gfjobs wrote them.

    python make.py GFJOBS FOLDER && tar czf made.tar.gz -C FOLDER .

GFJOBS is the program of the last commit before modules were put into packages (November 2026), and
`storage` is imported from there too. The folder gets a results root, a ledger of nights, a training
that was killed, and answers.json: queries with their rows, as that program answered them.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import storage

GRID = """\
name: {name}
models: [digits-gfnet, digits-dynn]
datasets: [{{name: digits, limit: 12}}]
thresholds: [0.5, {{start: 0.0, stop: 1.0, num: 11}}]
threads: [1]
measure: [accuracy, latency{more}]
energy: {{idle_s: 0.05, active_s: 0.05, settle_s: 0.0}}
latency: {{rounds: {rounds}, warmup_images: 3}}
baseline: digits-gfnet
"""
NIGHT = """\
grid: night.yaml
cron: "30 2 * * *"
timezone: Europe/Berlin
judge: {against: 8, control: digits-gfnet}
"""
RECIPE = """\
name: small
stage: baseline
dataset: digits
validation: {fraction: 0.5, seed: 0}
model: {img_size: 16, patch_size: 8, embed_dim: 8, depth: 2}
preprocessing: {size: 16, interpolation: bicubic, mean: [0.5, 0.5, 0.5], std: [0.5, 0.5, 0.5]}
epochs: 3
batch_size: 64
learning_rate: 0.002
weight_decay: 0.05
warmup_epochs: 1
seed: 0
threads: 1
output: trained.safetensors
"""
QUERIES = {
    "ladder": "FROM ladder ORDER BY ALL",
    "measured": "FROM measured ORDER BY ALL",
    "exit_energies": "FROM exit_energies ORDER BY ALL",
    "regressions": "FROM regressions ORDER BY ALL",
    "cells": "SELECT * EXCLUDE (note) FROM cells ORDER BY ALL",
    "counts": """
        SELECT (SELECT count(*) FROM records) AS records, (SELECT count(*) FROM exits) AS exits,
            (SELECT count(*) FROM exit_costs) AS exit_costs, (SELECT count(*) FROM power) AS power,
            (SELECT count(*) FROM profile) AS profile, (SELECT count(*) FROM images) AS images,
            (SELECT count(*) FROM rounds) AS rounds, (SELECT count(*) FROM training) AS training
    """,
}
POWER = Path(__file__).parents[3] / "examples" / "power.csv"


def main(gfjobs: str, folder: Path) -> None:
    """Run the commands; two of the processes are killed in the middle."""
    folder.mkdir(parents=True)
    os.chdir(folder)
    os.environ |= {
        "GFJOBS_CACHE": str(folder.parent / "cache"),
        "GFJOBS_LEDGER": "nights.sqlite",
        "GFJOBS_POWER": "replay:power.csv",
        "GFJOBS_RESULTS": "results",
    }
    shutil.copy(POWER, "power.csv")
    Path("all.yaml").write_text(
        GRID.format(name="all", more=", energy, exit_costs, profile", rounds=2)
    )
    Path("cut.yaml").write_text(GRID.format(name="cut", more="", rounds=10))
    Path("night.yaml").write_text(GRID.format(name="night", more="", rounds=2))
    Path("nightly.yaml").write_text(NIGHT)
    Path("recipe.yaml").write_text(RECIPE)
    run(gfjobs, "submit", "all.yaml", "--run", "compacted", "--inline")
    run(gfjobs, "compact")
    run(gfjobs, "submit", "all.yaml", "--run", "done", "--inline")
    run(gfjobs, "schedule", "add", "nightly.yaml")
    for _ in range(2):
        run(gfjobs, "schedule", "run", "nightly")
    kill(
        [gfjobs, "submit", "cut.yaml", "--run", "cut", "--inline"],
        lambda: len(list(Path("results/runs/cut").rglob("*.parquet"))) > 8,
    )
    kill([gfjobs, "train", "recipe.yaml"], lambda: any(Path.cwd().glob("trained.*")))
    answers = {
        name: {"sql": sql, "rows": storage.query("results", sql).to_pylist()}
        for name, sql in QUERIES.items()
    }
    Path("answers.json").write_text(json.dumps(answers, default=str))


def run(*command: str) -> None:
    """One command, to its end."""
    subprocess.run(command, check=True)


def kill(command: list[str], is_time: Callable[[], bool]) -> None:
    """One command, until it is time to end it."""
    process = subprocess.Popen(command)
    while not is_time() and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]).absolute())
