"""Compacting and checking, as the command line has them."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from click.testing import CliRunner, Result

import storage
from jobs.cli import main
from jobs.report.terminal import maintenance


def call(root: Path, *words: str) -> Result:
    """Call a command."""
    return CliRunner().invoke(main, [*words, "--results", str(root)])


def write_run(root: Path) -> Path:
    """A finished run of three images; its file of rows."""
    cell = storage.CellRow("first", "cell-1", kind="latency", model="m", status="done", rows=3)
    run = storage.RunRow("first", status="running")
    columns = {"run_id": "first", "cell_id": "cell-1", "round": 0, "image_id": [0, 1, 2]}
    with storage.RunStore.create(root, run, [cell], {}) as store:
        rows = {"records": storage.build_table("records", columns)}
        store.commit(storage.CommitEntry("cell-1", 0, 0, rows=3), rows)
        store.merge()
        store.save_run(dataclasses.replace(run, status="done"))
    (file,) = (root / "runs" / "first" / "data").glob("records-*")
    return file


def test_compact_says_what_it_did(tmp_path: Path) -> None:
    """And before, what it would do."""
    write_run(tmp_path)
    said = [call(tmp_path, "compact", *words).stdout for words in (["--dry-run"], [], [])]
    assert said == [
        "1 run would be compacted, 0 already compacted\n",
        "1 run compacted, 0 already compacted\n",
        "0 runs compacted, 1 already compacted\n",
    ]
    assert call(tmp_path, "rm", "first").exit_code == 0
    assert call(tmp_path, "compact").stdout.endswith("1 run had changed or been removed since\n")


def test_fsck_ends_with_1_while_something_is_wrong(tmp_path: Path) -> None:
    """It is named, repaired when asked for, and told how to be had again."""
    file = write_run(tmp_path)
    whole = call(tmp_path, "fsck")
    assert (whole.exit_code, whole.stdout) == (0, "nothing is wrong\n"), whole.output
    file.write_bytes(b"?")
    found = call(tmp_path, "fsck", "latest")
    assert found.exit_code == 1
    assert f"first: data/{file.name}: has SHA-256" in found.stdout
    assert "  with --repair: deleted; `gfjobs resume` runs the lost part again" in found.stdout
    repaired = call(tmp_path, "fsck", "--repair")
    assert repaired.exit_code == 0
    assert "1 problem, 1 repaired" in repaired.stdout
    assert "gfjobs resume first" in repaired.stdout
    assert call(tmp_path, "fsck").exit_code == 0
    assert call(tmp_path, "fsck", "nobody").exit_code == 2


def test_what_a_repair_dropped_decides_whether_a_resume_is_named() -> None:
    """Not the words of its remedy."""
    named = storage.Problem("first", "x", "told as `gfjobs resume first`", is_repaired=True)
    dropped = storage.Problem("second", "x", "deleted", is_resumed=True, is_repaired=True)
    left = storage.Problem("third", "x", "deleted", is_resumed=True)
    text = maintenance.describe_check([named, dropped, left])
    assert text.endswith("to run what was dropped again: gfjobs resume second\n")


def test_what_takes_no_time_is_not_narrated(tmp_path: Path) -> None:
    """Of long work, one line every few seconds."""
    told: list[str] = []
    tell = maintenance.show_slowly(told.append)
    tell("first", 1, 2)
    assert told == []
    upkeep_time = maintenance.TELL_EVERY_S
    try:
        maintenance.TELL_EVERY_S = 0.0
        tell("second", 2, 2)
    finally:
        maintenance.TELL_EVERY_S = upkeep_time
    assert told == ["second: run 2 of 2"]
    assert not list(tmp_path.iterdir())


def test_a_damaged_run_is_named_and_others_are_shown(tmp_path: Path) -> None:
    """By each command once, beside the rows."""
    write_run(tmp_path)
    (tmp_path / "runs" / "first" / "cells.parquet").write_bytes(b"?")
    for words in (["sql", "select count(*) as n from ladder"], ["runs"]):
        done = call(tmp_path, *words)
        assert done.exit_code == 0
        assert done.stderr.count("run first is left out: ") == 1
        assert "gfjobs fsck" in done.stderr
    assert "damaged" in done.stdout
    assert call(tmp_path, "status", "first").exit_code == 2
    assert call(tmp_path, "compact").stdout.endswith("damaged, see `gfjobs fsck`\n")


def test_long_findings_are_folded_between_words() -> None:
    """With their own indentation; a path is never broken."""
    path = f"/results/{'x' * 60}"
    text = maintenance.describe_check([storage.Problem("r", f"{path} cannot be read " * 2, "")])
    assert path in text
    assert all(len(line) <= 80 or " " not in line.strip() for line in text.splitlines())
