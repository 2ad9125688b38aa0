"""What every command with `--format` writes for other programs: NULL, numbers and lists as such."""

from __future__ import annotations

import csv
import functools
import io
import json
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

import storage
from jobs.cli import main
from storage.sql.macros import MACROS, VIEWS
from tests.jobs.analysis.regressions.conftest import Nights

NOTHING = re.compile(r"\s*|[-–—]|n/?a|none|null|nan|[-+]?inf(inity)?", re.IGNORECASE)
"""Texts that stand for a value that is missing; a program gets null."""
FORMATTED = re.compile(r"[-+±<>]*[0-9][0-9.,]*( ?(%|ms|mJ|s|M|k|h))?|\[.*\]|\{.*\}", re.DOTALL)
"""Texts that stand for numbers, lists or objects; a program gets these."""
NAMES = {
    "predicted_name",
    "mistaken_for_name",
    "python",
    "torch",
    "ray",
    "class_name",
    "first_name",
    "second_name",
    "gfjobs_version",
}
"""Columns of text that may look like a number: versions, and the ten digits."""

TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")

ARGUMENTS = {
    "run": "'full'",
    "run_ids": "['full']",
    "ts": "[0.5, 0.9]",
    "t": "0.5",
    "model_name": "'dynn'",
    "rule := NULL": "rule := 'margin'",
}

COMMANDS: Mapping[str, Sequence[Sequence[str]]] = {
    "compare": [
        ["full", "full", "--models", "static", "dynn"],
        ["full", "no-sensor"],
        ["a", "b"],
        ["a", "b", "--images"],
        ["a", "c", "--images"],
    ],
    "summary": [["loaded", "--load"]],
    "sql": [["from ladder"], ["from runs"], ["from cells"], ["from nodes where false"]],
}
"""Arguments of each command with `--format`, on runs that lack all sorts of values."""

READERS = ("power import",)
"""Commands whose `--format` is that of a file which they read."""


def _with_format(group: click.Group, prefix: str = "") -> Iterator[tuple[str, Sequence[str]]]:
    """Every command that writes in a `--format`, with the formats."""
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from _with_format(command, f"{prefix}{name} ")
        for option in command.params:
            if "--format" in option.opts and f"{prefix}{name}" not in READERS:
                assert isinstance(option.type, click.Choice)
                yield f"{prefix}{name}", option.type.choices


FORMATS = dict(_with_format(main))
CALLS = [(name, arguments) for name, calls in COMMANDS.items() for arguments in calls]


@pytest.fixture(scope="module")
def root(made_run: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs with and without energy, latency, accuracy, exits, nodes; one of which nothing ran."""
    root = tmp_path_factory.mktemp("formats") / "results"
    made_run(root, "full")
    made_run(root, "no-sensor", kinds=("exits", "latency"), has_power=False, day=25)
    made_run(root, "exits", kinds=("exits",), day=26)
    nights = Nights(root)
    by_exit = {"exit_blocks": (1, 2), "thresholds": (0.3, 0.7)}
    models = {"gates": 2.0, "flat": 1.0}
    for name, wrong, lost in (("a", [3], ()), ("b", [4], ("flat",)), ("c", [3], ())):
        nights.add(models, wrong, run_id=name, lost=lost, of_model={"gates": by_exit})
    _add_loaded(root)
    run = storage.RunRow("open", "digits", submitted_at=datetime(2026, 11, 28))  # noqa: DTZ001
    cell = storage.CellRow("open", "latency-dynn", kind="latency", model="dynn", depth=5)
    with storage.RunStore.create(root, run, [cell], {}) as store:
        store.save_nodes([storage.NodeRow("open", "board", "cuda")])
    return root


def _add_loaded(root: Path) -> None:
    """A run with a throughput cell and two serving cells, one of which nothing ran."""
    common: dict[str, Any] = {
        "dataset": "digits",
        "device": "cpu",
        "node": "board",
        "runtime": "torch",
        "precision": "float32",
        "threads": 1,
        "batch_size": 1,
        "model": "static",
        "depth": 4,
        "exit_blocks": (3,),
    }
    served: dict[str, Any] = {"kind": "serving", "arrivals_s": 9.0, "arrivals_seed": 0}
    cells = [
        storage.CellRow("loaded", "batches", kind="throughput", status="done", **common),
        storage.CellRow(
            "loaded", "requests", status="done", arrivals_per_s=20.0, **common, **served
        ),
        storage.CellRow("loaded", "waiting", arrivals_per_s=40.0, **common, **served),
    ]
    run = storage.RunRow("loaded", "digits", submitted_at=datetime(2026, 11, 29))  # noqa: DTZ001
    of_run: dict[str, Any] = {"run_id": "loaded", "round": 0}
    tables = {
        "throughput": {"cell_id": "batches", "batch": [0, 1], "images": 1, "elapsed_ms": 4.0},
        "responses": {
            "cell_id": "requests",
            "request": [0, 1],
            "image_id": 0,
            "exit_block": 3,
            "arrived_ms": [10.0, 20.0],
            "began_ms": [10.0, 20.0],
            "ended_ms": [12.0, 22.0],
        },
    }
    with storage.RunStore.create(root, run, cells, {}) as store:
        for name, columns in tables.items():
            entry = storage.CommitEntry(
                str(columns["cell_id"]), 0, 0, node="board", rows=2, busy_s=1.0
            )
            store.commit(entry, {name: storage.build_table(name, of_run | columns)})
        store.save_run(replace(run, status="done"))


def _texts(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, list | dict):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _texts(item)


def _kind(value: object) -> str:
    return "number" if type(value) in (int, float) else type(value).__name__


def _no_constant(text: str) -> float:
    raise AssertionError(f"{text} is not JSON")


def check_text(column: str, values: object) -> None:
    """Check that no text stands for a value of another type, or for none."""
    for text in _texts(values):
        assert not NOTHING.fullmatch(text), (column, text)
        assert column in NAMES or not FORMATTED.fullmatch(text), (column, text)


def check(encoded: Mapping[str, bytes]) -> list[dict[str, Any]]:
    """Check a result as JSON and as CSV; the rows are returned."""
    rows: list[dict[str, Any]] = json.loads(encoded["json"], parse_constant=_no_constant)
    for name in rows[0] if rows else ():
        values = [row[name] for row in rows]
        assert len({_kind(value) for value in values if value is not None}) <= 1, (name, values)
        check_text(name, values)
        if name.endswith("_at"):
            assert all(TIME.fullmatch(text) for text in _texts(values)), (name, values)
    assert b"\r" not in encoded["csv"]
    header, *lines = csv.reader(io.StringIO(encoded["csv"].decode()))
    assert len(lines) == len(rows)
    for row, line in zip(rows, lines, strict=True):
        assert list(row) == header
        for value, text in zip(row.values(), line, strict=True):
            assert _in_csv(value, text), (row, line)
    return rows


def _in_csv(value: object, text: str) -> bool:
    """Whether a field of CSV is what JSON says."""
    if value is None:  # NaN and infinity are numbers in CSV
        return text in ("", "nan", "inf", "-inf")
    if isinstance(value, bool):
        return text == str(value).lower()
    if isinstance(value, int | float):
        return math.isclose(float(text), value, rel_tol=1e-12)  # threads add in any order
    if isinstance(value, list | dict):
        return text[0] + text[-1] in ("[]", "{}")
    time = re.sub(r"(\.\d*?)0*Z$", r"\1", str(value)).rstrip("Z.")
    return text == value or text.replace(" ", "T") == time


Encoded = Callable[..., dict[str, bytes]]


@pytest.fixture(scope="module")
def encoded(root: Path) -> Encoded:
    """What a command writes as JSON and as CSV, once for all tests."""

    @functools.cache
    def run(command: str, *arguments: str) -> dict[str, bytes]:
        found = {}
        for form in ("json", "csv"):
            words = [*command.split(), *arguments, "--format", form, "--results", str(root)]
            result = CliRunner().invoke(main, words)
            assert result.exit_code == 0, result.output
            found[form] = result.stdout_bytes
        return found

    return run


def test_every_command_with_formats_is_checked() -> None:
    """A new one needs its arguments here."""
    assert set(COMMANDS) == set(FORMATS)
    assert all({"json", "csv"} <= set(formats) for formats in FORMATS.values())


@pytest.mark.parametrize(
    ("command", "arguments"), CALLS, ids=[" ".join((name, *words)) for name, words in CALLS]
)
def test_programs_get_values_and_not_their_looks(
    command: str, arguments: Sequence[str], encoded: Encoded
) -> None:
    """Null for a dash, numbers as numbers, lists as lists, and times with their zone."""
    check(encoded(command, *arguments))


def test_a_threshold_is_a_number_a_list_or_null(encoded: Encoded) -> None:
    """As in the ladder; the table shows a dash for a model without gates."""
    rows = check(encoded("compare", "full", "full", "--models", "static", "dynn"))
    assert {(row["threshold"], row["second_threshold"]) for row in rows} == {(None, 0.5)}
    rows = check(encoded("compare", "a", "b"))
    assert {(row["model"], row["threshold"], str(row["thresholds"])) for row in rows} == {
        ("gates", None, "[0.3, 0.7]"),
        ("flat", None, "None"),
    }


def test_images_that_changed_are_rows_also_if_there_are_none(encoded: Encoded) -> None:
    """Not the figures instead of them."""
    outputs = encoded("compare", "a", "c", "--images")
    assert check(outputs) == []
    changed = encoded("compare", "a", "b", "--images")
    assert {row["image_id"] for row in check(changed)} == {3, 4}
    assert outputs["csv"].splitlines() == changed["csv"].splitlines()[:1]


def test_every_table_view_and_macro(root: Path) -> None:
    """No text of them is a dash, a formatted number or list, or empty."""
    checked = set()
    connection = storage.connect(root)
    for name in (*storage.TABLES, *VIEWS, *MACROS):
        arguments = ", ".join(ARGUMENTS[each] for each in MACROS.get(name, ()))
        source = f"FROM {name}({arguments})" if name in MACROS else f"FROM {name}"
        columns = connection.execute(f"DESCRIBE {source}").fetchall()
        texts = [column for column, kind, *_ in columns if kind == "VARCHAR"]
        distinct = ", ".join(f'list(DISTINCT "{column}")' for column in texts) or "NULL"
        (found,) = connection.execute(f"SELECT {distinct} {source} LIMIT 1").fetchall() or [()]
        for column, values in zip(texts, found, strict=False):
            check_text(column, values)
            checked.update([name] if values else [])
    assert len(checked) > len((*storage.TABLES, *VIEWS, *MACROS)) / 2
