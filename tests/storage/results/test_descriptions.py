"""Every table, view, macro, column and argument is described, and nothing that is not there."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path

import pytest

import storage
from storage.results import descriptions
from storage.results.descriptions import bound_relation, meaning_of, unit_of
from storage.sql.macros import MACROS, VIEWS

FILE = descriptions._descriptions()


def _columns() -> dict[str, list[str]]:
    """The columns of every table, view and macro, over one connection to no rows."""
    with tempfile.TemporaryDirectory() as folder, storage.connect(Path(folder)) as connection:
        return {
            name: connection.sql(f"FROM {bound_relation(name)} LIMIT 0").columns
            for name in (*storage.TABLES, *VIEWS, *MACROS)
        }


COLUMNS = _columns()


def test_every_table_view_and_macro_is_described() -> None:
    """And nothing else is."""
    known = [*storage.TABLES, *VIEWS, *MACROS]
    assert [each.name for each in storage.list_relations()] == known
    assert set(FILE["relations"]) == set(known)
    assert all(each.row for each in storage.list_relations())


@pytest.mark.parametrize("relation", list(COLUMNS))
def test_every_column_is_described(relation: str) -> None:
    """Of each table, view and macro; and it describes no column that it does not have."""
    missing = [column for column in COLUMNS[relation] if not meaning_of(relation, column)]
    assert not missing
    own = FILE["relations"][relation].get("columns", {})
    assert not set(own) - set(COLUMNS[relation])


def test_no_general_meaning_is_stale() -> None:
    """Each is that of some column which has no meaning of its own; and none is written twice."""
    used = {
        column
        for relation, columns in COLUMNS.items()
        for column in columns
        if column not in (FILE["relations"][relation].get("columns", {}))
    }
    assert set(FILE["columns"]) == used & set(FILE["columns"])
    for name, relation in FILE["relations"].items():
        for column, meaning in (relation.get("columns", {})).items():
            assert meaning != FILE["columns"].get(column), (name, column)


def test_units_and_arguments_are_those_that_there_are() -> None:
    """A unit is of a column that has none by its ending; arguments are those of macros."""
    every = {column for columns in COLUMNS.values() for column in columns}
    assert set(FILE["units"]) <= every
    arguments = {each.partition(" ")[0] for args in MACROS.values() for each in args}
    assert set(FILE["parameters"]) == arguments
    assert all(unit_of(column, "VARCHAR") == "" for column in FILE["units"])


def test_names_with_a_unit_have_it() -> None:
    """Of each column of a number whose name ends with one."""
    for relation in ("ladder", "rounds", "power", "cell_resources", "gate_regret", "training"):
        for column in storage.describe_relation(relation).columns:
            if re.search(r"_(ms|mj|w|mw|mhz|pct|bytes|s|c|points)$", column.name):
                assert column.unit, column
    units = {each.name: each.unit for each in storage.describe_relation("ladder").columns}
    assert units["acc1"] == "%"
    assert units["energy_mj"] == "mJ"
    assert units["fps"] == "images/s"
    assert units["exit_counts"] == units["threads"] == units["model"] == ""


def test_meanings_are_short_and_of_one_line() -> None:
    """They stand in a table of 80 columns."""
    every = [*FILE["columns"].values(), *FILE["parameters"].values()]
    for relation in FILE["relations"].values():
        every += [relation["row"], *(relation.get("columns", {})).values()]
    for text in every:
        assert isinstance(text, str)
        assert "\n" not in text
        assert len(text) <= 110, text
        assert not text.endswith("."), text


def test_a_macro_is_described_with_its_arguments() -> None:
    """As it is called, with the defaults."""
    relation, parameters, columns = storage.describe_relation("at_threshold")
    assert relation.call == "at_threshold(t, rule := NULL)"
    assert [(each.name, each.default) for each in parameters] == [("t", None), ("rule", "NULL")]
    assert columns[0].name == "run_id"
    assert {each.name: each.type for each in columns}["exit_counts"] == "BIGINT[]"


def test_tables_have_the_types_of_their_schema() -> None:
    """With the columns that a view adds to its table."""
    columns = storage.describe_relation("records").columns
    assert [each.name for each in columns] == [*storage.TABLES["records"].names, "dataset_sha256"]


@pytest.mark.parametrize("name", ["LADDER", "frontier('latest')", " runs"])
def test_a_name_is_found_as_sql_finds_it(name: str) -> None:
    """In any case, and as it is copied from a query."""
    assert storage.describe_relation(name).columns


def test_an_unknown_name_has_near_ones() -> None:
    """And where all are listed."""
    with pytest.raises(storage.StorageError, match=r"'laddr' \(did you mean 'ladder'\?\).*schema"):
        storage.describe_relation("laddr")
