"""A session: statements one after the other, of which each sees what earlier ones created."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import storage

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.storage.conftest import Builder


@pytest.fixture
def session(build: Builder) -> Iterator[storage.Session]:
    """A session over a run of three records."""
    build.records(build.cell(), 3)
    build.store(merge=True)
    session = storage.Session(build.root)
    yield session
    session.close()


def test_a_statement_sees_what_an_earlier_one_created(session: storage.Session) -> None:
    """A table, a macro, a variable: with the rows of the results."""
    assert session.run("create table mine as select image_id from records").num_columns == 0
    session.run("create macro twice(x) as 2 * x")
    session.run("set variable least = 1")
    found = session.run(
        "select twice(image_id) as n from mine where image_id >= getvariable('least')"
    )
    assert sorted(found["n"].to_pylist()) == [2, 4]
    assert session.is_kept
    session.close()
    with pytest.raises(storage.QueryError, match="mine"):
        session.run("from mine")


def test_without_anything_of_its_own_each_reads_the_newest_rows(
    session: storage.Session, build: Builder
) -> None:
    """A run that goes on is seen to; what is created keeps the moment."""
    count = "select count(*) as n from runs"
    assert session.run(count)["n"].to_pylist() == [1]
    assert not session.is_kept
    another = type(build)(build.root, "run-2")
    another.records(another.cell(), 1)
    another.store()
    assert session.run(count)["n"].to_pylist() == [2]


def test_a_refused_statement_keeps_nothing(session: storage.Session) -> None:
    """It has its message, and the session goes on."""
    for sql in ("create table runs as select 1", "set threads = 1", "copy runs to 'x.csv'"):
        with pytest.raises(storage.QueryError):
            session.run(sql)
        assert not session.is_kept
    session.run("create table mine as select 1 as a")
    with pytest.raises(storage.QueryError, match="mein"):
        session.run("from mein")
    assert session.run("from mine").to_pylist() == [{"a": 1}]


def test_errors_are_those_of_a_query(session: storage.Session) -> None:
    """With near names, and the columns of what is named."""
    for sql in ("selec 1", "from laddr", "select modle from ladder"):
        with pytest.raises(storage.QueryError) as single:
            storage.query(session._root, sql)
        with pytest.raises(storage.QueryError) as caught:
            session.run(sql)
        assert str(caught.value) == str(single.value)


def test_rows_that_are_gone_end_what_was_created(session: storage.Session, build: Builder) -> None:
    """It says so, and the next statement reads what is there."""
    session.run("create table mine as select 1 as a")
    storage.remove_run(build.root, "run-1")
    with pytest.raises(storage.StorageError, match="created in this session is gone"):
        session.run("select sum(image_id) from records")
    assert not session.is_kept
    assert session.run("from records").num_rows == 0


def test_a_root_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    """At once, and not with the first statement."""
    with pytest.raises(storage.StorageError, match="no such folder"):
        storage.Session(tmp_path / "none")
