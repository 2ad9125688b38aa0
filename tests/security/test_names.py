"""Names from files of others, on their way to SQL, pictures, terminals and disks."""

from __future__ import annotations

import io
import json
from pathlib import Path

import duckdb
import pytest
from click.testing import CliRunner

import storage
from jobs.analysis.curve import Curves
from jobs.cli import main
from jobs.common.errors import BadInputError
from jobs.common.result_table import result_table
from jobs.common.tables import markdown_table, text_table
from jobs.common.text import escape_controls
from jobs.common.yaml_document import Document
from jobs.report.figures.curve import drawing_of_curves, save_figure
from jobs.runs.progress import Progress
from storage.runs.layout import run_paths
from storage.sql.text import quote

NAMES = [
    "it's",
    "'; DROP TABLE runs; --",
    '"x"',
    "<script>alert(1)</script>",
    "a\\'b",
    "\x1b[31m",
    "$$",
    "%s {x}",
]
GRID = (
    "models: [digits-gfnet]\ndatasets: [{name: digits, limit: 3}]\n"
    "measure: [accuracy]\nthreads: [1]\n"
)


@pytest.mark.parametrize("name", NAMES)
def test_a_literal_is_the_text(name: str) -> None:
    """DuckDB reads back what was quoted."""
    assert duckdb.sql(f"SELECT {quote(name)}").fetchall() == [(name,)]


@pytest.mark.parametrize("name", NAMES[1:6:2])
def test_names_of_models_and_roots_are_no_sql(name: str, tmp_path: Path) -> None:
    """A run whose model has the name, under a root of it: rows, ladder, macro and merge."""
    root = tmp_path / name.replace("/", "|")
    model = f"models: [{{checkpoint: digits-gfnet, name: {json.dumps(name)}}}]\n"
    (tmp_path / "g.yaml").write_text(GRID.replace("models: [digits-gfnet]\n", model))
    command = ["submit", str(tmp_path / "g.yaml"), "--inline", "--results", str(root)]
    done = CliRunner().invoke(main, command)
    assert done.exit_code == 0, done.output
    assert "\x1b" not in done.output
    rows = storage.query(root, "SELECT DISTINCT model FROM exits").to_pylist()
    assert rows == [{"model": name}]
    assert storage.query(root, "SELECT model FROM ladder").num_rows == 1
    macro = f"SELECT count(*) AS n FROM frontier({quote(name)})"  # noqa: S608 - the point
    with pytest.raises(storage.QueryError, match="there is no run"):
        storage.query(root, macro)


@pytest.mark.parametrize(
    "name", ["../x", "a/b", "..", ".", "", "a\0b", "/etc/x", "-x", "a..b", "x" * 101]
)
def test_run_ids_stay_below_the_root(name: str, tmp_path: Path) -> None:
    """Also where a command is given one."""
    with pytest.raises(storage.StorageError, match="is not allowed"):
        run_paths(tmp_path, name)


@pytest.mark.parametrize("name", ["../x", "a/b", "..", "/etc/passwd", ".hidden", "a b"])
def test_names_of_data_sets_are_words(name: str) -> None:
    """A name is looked up in two folders, and cannot leave them."""
    with pytest.raises(storage.DatasetError, match="is not known"):
        storage.open_images(name)
    with pytest.raises(storage.DatasetError, match="is not allowed"):
        storage.open_images("digits", name)


HOSTILE = "cat\x1b]0;owned\x07\x9b2J\u202etxt\ud800"
SHOWN = "cat\\x1b]0;owned\\x07\\x9b2J\\u202etxt\\ud800"


def test_control_characters_are_written_out() -> None:
    """Lines and tabs stay, other scripts stay."""
    assert escape_controls(HOSTILE) == SHOWN
    assert escape_controls("a\tb\nü 猫 🐈") == "a\tb\nü 猫 🐈"


def test_tables_cannot_move_the_cursor() -> None:
    """Names of rows, columns and titles, in each form of a table."""
    for table in (
        text_table([HOSTILE], [[HOSTILE]], title=HOSTILE),
        result_table([HOSTILE], [[HOSTILE]]),
        markdown_table([HOSTILE], [[[HOSTILE]]]),
    ):
        assert table.count(SHOWN) >= 2
        assert not set(table) & set("\x1b\x07\x9b\u202e")


def test_errors_cannot_move_the_cursor(tmp_path: Path) -> None:
    """A grid's own words in its problems, as a command shows them."""
    path = tmp_path / "g.yaml"
    path.write_text('models: ["\\e[31mred"]\ndatasets: ["\\e[2Jx"]\n"\\e]0;a\\a": 1\n')
    done = CliRunner().invoke(main, ["plan", str(path)], color=True)
    assert done.exit_code == 2
    assert "\x1b" not in done.output
    assert "\\x1b" in done.output


def test_progress_cannot_move_the_cursor() -> None:
    """What a task says of itself."""
    from rich.console import Console

    stream = io.StringIO()
    progress = Progress.__new__(Progress)
    progress._console = Console(file=stream, force_terminal=True, color_system=None)
    progress.note(HOSTILE)
    progress._say(HOSTILE)
    assert stream.getvalue().count("\\x1b") == 2
    assert "\x1b" not in stream.getvalue()


def test_pictures_hold_names_as_text(tmp_path: Path) -> None:
    """An SVG is opened by browsers: a name must not become an element of it."""
    pytest.importorskip("altair")
    pytest.importorskip("vl_convert")
    name = "<script>alert(1)</script>"
    curves = Curves(name, "mean_blocks", {name: [{"mean_blocks": 1.0, "acc1": 90.0}]})
    save_figure([drawing_of_curves(curves)], tmp_path / "x.svg")
    text = (tmp_path / "x.svg").read_text()
    assert "&lt;script" in text
    assert "<script" not in text


def read(text: str, tmp_path: Path) -> str:
    """What is wrong with a grid."""
    from jobs.grid.reader import read_grid

    path = tmp_path / "g.yaml"
    path.write_text(text)
    with pytest.raises(BadInputError) as caught:
        read_grid(Document.read(path), None, tmp_path)
    return str(caught.value)


def test_documents_are_bounded(tmp_path: Path) -> None:
    """In bytes, in values by aliases, in combinations, and in the words of a refusal."""
    grid = GRID + "thresholds: "
    assert "more than 65,536 bytes" in read("#" * 70_000, tmp_path)
    lines = ["a: &a [" + "0.5, " * 2000 + "]"]
    many = read("\n".join([*lines, grid + "[" + "*a, " * 2000 + "]"]), tmp_path)
    assert "at most 100,000 in one file" in many
    written = ", ".join(f"0.{n}" for n in range(1000, 2000))
    devices = ", ".join(f"d{n}" for n in range(1100))
    wide = f"[{written}]\ndevices: [{devices}]"
    assert "1,100,000 combinations" in read(grid + wide, tmp_path)
    long = read(f"models: ['{'x' * 60_000}']\ndatasets: [digits]\n", tmp_path)
    assert len(long) < 3000
    assert "and 1,900 more problems" in read(f"{GRID}thresholds: [{'x, ' * 2000}]", tmp_path)
    assert "brackets nested more than 50 deep" in read("{" * 60_000, tmp_path)  # minutes, before
    with pytest.raises(BadInputError, match="null byte"):
        Document.read("a\0b")


@pytest.mark.parametrize("name", ["a\x1b[31mb", "a\u202eb\u2028c"])
def test_a_report_cannot_be_steered_by_names(name: str, tmp_path: Path) -> None:
    """ESC aborted the process while a chart was drawn; marks of direction reached the page."""
    root = tmp_path / "results"
    grid = GRID.replace("digits-gfnet", "digits-dynn").replace("limit: 3", "limit: 40")
    grid = grid.replace("models: [digits-dynn]", "models: [{checkpoint: digits-dynn, name: NAME}]")
    (tmp_path / "g.yaml").write_text(grid.replace("NAME", json.dumps(name)))
    for words in (
        f"submit {tmp_path}/g.yaml --inline --run r --results {root}",
        f"report r --results {root} -o {tmp_path}/page.html",
        f"report r --results {root} --figures {tmp_path}/figures",
        f"report r --results {root} --markdown -o {tmp_path}/page.md",
        f"curve r --results {root} -o {tmp_path}/curve.svg",
    ):
        done = CliRunner().invoke(main, words.split())
        assert done.exit_code == 0, (words, done.output)
    files = [path for path in tmp_path.rglob("*") if path.suffix in {".html", ".md", ".svg"}]
    assert len(files) > 4
    for path in files:
        text = path.read_text()
        data = text.partition("<body")[2] if path.suffix == ".html" else text
        assert not set("\x1b\u202e\u2028") & set(data), path
        if path.suffix == ".html" or path.stem == "curve":  # Markdown escapes the bracket too
            assert escape_controls(name) in data.replace("\\\\", "\\"), path
