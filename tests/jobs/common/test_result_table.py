"""The table of a query: the columns that fit a terminal, and the names of the others."""

from __future__ import annotations

import sys

import pytest

from jobs.common.result_table import result_table
from jobs.common.tables import text_table

KEYS = ["run_id", "cell_id", "model", "threshold"]
FIGURES = [f"figure_{number}_ms" for number in range(12)]
COLUMNS = [*KEYS, *FIGURES, "note"]
NOTE = "energy: no power samples while it ran; p99 needs 662 samples, has 24"
ROWS = [
    ["first", f"{number:064x}", "dynn", number / 10, *(number + n / 7 for n in range(12)), NOTE]
    for number in range(3)
]


@pytest.fixture
def _terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "80")


def header(text: str) -> list[str]:
    """The columns that are shown."""
    return text.splitlines()[0].split()


def remark(text: str, beginning: str) -> str:
    """A remark below the table, on one line."""
    words = " ".join(text.split())
    return words[words.index(beginning) :].split(" (")[0] if beginning in words else ""


def test_a_pipe_gets_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """Names are searched for there."""
    monkeypatch.setenv("COLUMNS", "80")
    assert result_table(COLUMNS, ROWS) == text_table(COLUMNS, ROWS)
    assert result_table(COLUMNS, []).splitlines()[0].split() == COLUMNS


@pytest.mark.usefixtures("_terminal")
def test_what_fits_is_a_plain_table() -> None:
    """Without a word below it."""
    rows = [row[2:6] for row in ROWS]
    assert result_table(COLUMNS[2:6], rows) == text_table(COLUMNS[2:6], rows)


@pytest.mark.usefixtures("_terminal")
def test_a_terminal_gets_the_columns_that_fit() -> None:
    """In their order; each of the others is named once, with the way to see them."""
    text = result_table(COLUMNS, ROWS)
    assert max(map(len, text.splitlines())) <= 80
    shown = header(text)
    assert shown == [column for column in COLUMNS if column in shown]
    assert "threshold" in shown
    assert "figure_0_ms" in shown
    left_out = remark(text, "left out for the width: ").partition(": ")[2].split(", ")
    assert sorted([*shown, *left_out, "run_id", "model"]) == sorted(COLUMNS)
    assert text.endswith("(--all shows them)\n")
    assert "(.all shows them)" in " ".join(result_table(COLUMNS, ROWS, how_all=".all").split())


@pytest.mark.usefixtures("_terminal")
def test_what_the_query_names_comes_first() -> None:
    """In any case of its letters, also if it is far to the right."""
    text = result_table(
        COLUMNS, ROWS, "select * from t where FIGURE_11_ms > 1 order by figure_9_ms"
    )
    assert {"figure_11_ms", "figure_9_ms", "threshold"} <= set(header(text))


@pytest.mark.usefixtures("_terminal")
def test_a_key_that_is_the_same_everywhere_is_named_below() -> None:
    """It tells no rows apart; in a single row, which has nothing to compare, it is a column."""
    text = result_table(COLUMNS, ROWS)
    assert "run_id" not in header(text)
    assert remark(text, "the same in all rows: run_id first, model dynn")
    text = result_table(COLUMNS, ROWS[:1])
    assert header(text)[:3] == ["run_id", "model", "threshold"]
    assert "the same" not in text


@pytest.mark.usefixtures("_terminal")
def test_what_says_nothing_comes_last() -> None:
    """Columns without a value, and texts of many lines, such as the grid of a run."""
    columns = ["grid", "empty", *FIGURES]
    rows = [["models: [a]\ndatasets: [b]", None, *row[4:16]] for row in ROWS]
    shown = header(result_table(columns, rows))
    assert shown[0] == "figure_0_ms"
    assert not {"grid", "empty"} & set(shown)


@pytest.mark.usefixtures("_terminal")
def test_a_long_note_is_wrapped_within_its_column() -> None:
    """It leaves room for figures, and no number is broken."""
    text = result_table(COLUMNS, ROWS, "select note from t")
    assert max(map(len, text.splitlines())) <= 80
    shown = header(text)
    assert shown[-1] == "note"
    assert len(shown) >= 3
    table = text.split(" left out")[0].split(" the same")[0]
    for word in NOTE.split():
        assert word in table


@pytest.mark.usefixtures("_terminal")
def test_all_is_one_line_per_value() -> None:
    """A block for each row; long notes go on below their beginning."""
    text = result_table(COLUMNS, ROWS, is_all=True)
    blocks = text.split("\n\n")
    assert len(blocks) == len(ROWS)
    for block in blocks:
        lines = block.splitlines()
        assert [line.split()[0] for line in lines[: len(COLUMNS)]] == COLUMNS
        assert max(len(line) for line in lines if "cell_id" not in line) <= 80
    assert NOTE in " ".join(text.split())
    assert "left out" not in text
    rows = [["a\n  b\n\nc", "", *ROWS[0][4:16]]]
    block = result_table(["grid", "nothing", *FIGURES], rows, is_all=True)
    assert block.splitlines()[:5] == [
        "grid          a",
        "                b",
        "",
        "              c",
        "nothing",
    ]


@pytest.mark.usefixtures("_terminal")
def test_a_column_that_does_not_fit_alone_is_shown() -> None:
    """A table without columns would show nothing."""
    text = result_table(["a" * 90, "b" * 90], [[1, 2], [3, 4]])
    assert "left out" in text
    assert "1" in text


@pytest.mark.usefixtures("_terminal")
def test_no_rows_of_many_columns_are_a_list_of_columns() -> None:
    """A header that does not fit would be cut to letters."""
    columns = [f"a_long_name_{number}" for number in range(9)]
    text = result_table(columns, [])
    assert text.startswith("no rows; the columns are a_long_name_0, ")
    assert max(map(len, text.splitlines())) <= 80
