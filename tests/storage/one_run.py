"""A run as a driver leaves it, to be copied and damaged by the tests of checks and repairs."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import storage
import storage.backends
import storage.tables.parquet

from .conftest import NOON, Builder, ask

IMAGES, SHARDS = 6, 3


def write_run(
    root: Path,
    run_id: str = "run-1",
    *,
    is_resumed: bool = False,
    is_merged: bool = True,
) -> None:
    """A run of a routed cell and an all-exit pass, as a driver leaves it; or what it misses."""
    build = Builder(root, run_id)
    timed = build.cell(rows=IMAGES * SHARDS, images=IMAGES * SHARDS)
    passes = build.cell("exits", rows=2 * IMAGES * SHARDS, exit_blocks=(1,), images=IMAGES * SHARDS)
    for shard in range(SHARDS):
        images = np.arange(IMAGES) + shard * IMAGES
        build.commit(
            timed,
            0,
            shard,
            records={"image_id": images, "is_correct": True, "exit_block": 3, "forward_ms": 2.0},
            rounds={"node": "node-a", "is_throttled": False},
        )
        build.commit(
            passes,
            0,
            shard,
            exits={
                "image_id": np.repeat(images, 2),
                "exit_block": np.tile(np.array([1, 3], np.int32), IMAGES),
                "is_correct": True,
            },
        )
    run = dataclasses.replace(build.run, status="done")
    if is_resumed:
        store = storage.RunStore.open(root, run_id)
    else:
        store = storage.RunStore.create(root, build.run, build.cells, {})
    with store:
        for planned, tables in build.tables:
            entry = dataclasses.replace(planned, rows=IMAGES, committed_at=NOON)
            assert store.commit(entry, tables) or is_resumed
        if is_merged:
            store.merge()
        if is_resumed:
            store.save_cells(build.cells)
        store.save_run(run)


ALL_ROWS = {
    "records": "SELECT run_id, cell_id, round, image_id, forward_ms FROM records ORDER BY ALL",
    "exits": "SELECT run_id, cell_id, image_id, exit_block FROM exits ORDER BY ALL",
    "commits": "SELECT run_id, cell_id, round, shard, rows FROM commits ORDER BY ALL",
    "cells": "SELECT run_id, cell_id, status, rows, is_valid FROM cells ORDER BY ALL",
    "ladder": "SELECT run_id, cell_id, acc1, forward_ms, note FROM ladder",
}


def whole(root: Path) -> dict[str, Any]:
    """All rows that were committed, and the ladder."""
    return ask(root, **ALL_ROWS)


class Made(NamedTuple):
    """A root of one run that is whole, and all its rows."""

    root: Path
    rows: dict[str, Any]


def copied(made: Made, folder: Path) -> Made:
    """The same in another folder."""
    shutil.copytree(made.root, folder, dirs_exist_ok=True)
    return Made(folder, made.rows)


def the_file(root: Path, pattern: str) -> Path:
    """The first file of the run that fits."""
    return min((root / "runs" / "run-1").glob(pattern))


def damage(file: Path, value: bytes | None = None) -> None:
    """Turn one bit over: where a value first stands, in a page with a checksum; else midway."""
    content = bytearray(file.read_bytes())
    content[content.index(value) if value else len(content) // 2] ^= 1
    file.write_bytes(bytes(content))


def change_stored(root: Path) -> None:
    """A summary that says something else, with a digest that fits."""
    manifest = the_file(root, "commits/merged-*")
    content = json.loads(manifest.read_bytes())
    name = content["summary"]["files"]["ladder"]
    file = root / "runs" / "run-1" / "data" / name
    table = storage.tables.parquet.read_table(storage.backends.open_backend(file))
    column = table.column_names.index("forward_ms")
    table = table.set_column(column, "forward_ms", [[99.0] * table.num_rows])
    file.write_bytes(storage.tables.parquet.parquet_bytes(table))
    content["digests"][name] = storage.tables.parquet.compute_digest(
        storage.backends.open_backend(file)
    )
    manifest.write_text(json.dumps(content))
