"""Splitting a text into statements: at the semicolons at which DuckDB ends them."""

from __future__ import annotations

import duckdb
import pytest

from storage.sql.statements import split_statements

TEXTS = [
    "select 1; select 2;",
    "select ';' as a; select ';;'';' as b",
    'select 1 as ";"; select 1 as "a"";b";',
    "select 1 -- one; two\n; select 2 /* three; four */;",
    "select $$;$$; select $tag$ ; $$ ; $tag$;",
    r"select e'\';'; select 2",
    "select 'e;', 4 as e; select 3",
    "select a$b from (select 1 as a$b); select 2",
    "with t as (select 1 as x) from t; from range(3) t(i) where i > 1",
    ";;select 1;;",
]


@pytest.mark.parametrize("text", TEXTS)
def test_statements_are_those_of_duckdb(text: str) -> None:
    """As many as DuckDB finds, and each of them is one by itself."""
    with duckdb.connect() as connection:
        found = split_statements(text)
        assert len(found) == len(connection.extract_statements(text))
        for statement in found:
            assert len(connection.extract_statements(statement.sql)) == 1


def test_each_has_the_line_of_its_first_word() -> None:
    """After comments and empty lines; in a file the line is named with an error."""
    text = "-- of today\n\nselect 1,\n  2;\n/* a\nb */ from runs\nlimit 1;from cells"
    assert [(each.line, each.sql, each.is_ended) for each in split_statements(text)] == [
        (3, "select 1,\n  2", True),
        (6, "from runs\nlimit 1", True),
        (7, "from cells", False),
    ]


@pytest.mark.parametrize(
    "text", ["select 'a;", 'select "a;', "select $$;", "/* a;", "select 1 /* ;", "select e'a;"]
)
def test_what_is_open_is_not_ended(text: str) -> None:
    """A semicolon in a string or comment that is still open ends nothing: a prompt waits."""
    (statement,) = split_statements(text)
    assert not statement.is_ended


@pytest.mark.parametrize("text", ["", " \n", "-- nothing;", "/* ; */", ";", " ; -- a"])
def test_nothing_is_no_statement(text: str) -> None:
    """Comments and semicolons alone are none."""
    assert split_statements(text) == []
