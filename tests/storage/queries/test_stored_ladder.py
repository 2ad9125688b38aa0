"""The ladder itself, stored: a merge, a check and a repair give what the rows give."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import storage
from storage.results import connection
from tests.storage.conftest import Builder, ask
from tests.storage.one_run import change_stored, whole, write_run
from tests.storage.plain_ladder import plain_ladder
from tests.storage.runs.test_summaries import rounded, without_summaries, write_several


def test_a_wrong_ladder_is_made_again_of_the_rows(tmp_path: Path) -> None:
    """Its figures are compared with those that the rows give, and it alone is wrong."""
    write_run(tmp_path)
    assert storage.fsck(tmp_path) == []
    expected = whole(tmp_path)
    assert [row["forward_ms"] for row in expected["ladder"]] == [2.0]
    change_stored(tmp_path)
    assert whole(tmp_path) != expected
    (problem,) = storage.fsck(tmp_path, is_repair=True)
    assert "/ladder-merged-" in problem.what
    assert problem.what.endswith("does not match the rows")
    assert storage.fsck(tmp_path) == []
    assert whole(tmp_path) == expected


def test_the_plain_ladder_has_the_columns_of_the_ladder(tmp_path: Path) -> None:
    """And their types, so that what is asked of one can be asked of the other."""
    schema = storage.query(tmp_path, "FROM ladder").schema
    with plain_ladder():
        assert storage.query(tmp_path, "FROM ladder").schema == schema


def test_answers_are_the_same_with_and_without_summaries(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, computing: list[list[str]]
) -> None:
    """From rows; from summaries of some and rows of others; from the history; types as well."""
    write_several(tmp_path)
    with without_summaries(monkeypatch):
        computed = storage.query(tmp_path, "FROM ladder")
    assert computed.num_rows > 12
    computing.clear()
    found = storage.query(tmp_path, "FROM ladder")
    assert computing == [["run-3"]]
    done = storage.compact(tmp_path)
    assert (done.added, done.left) == ([f"run-{seed}" for seed in range(5)], {})
    computing.clear()
    copied = storage.query(tmp_path, "FROM ladder")
    assert computing == []
    for table in (found, copied):
        assert table.schema == computed.schema
        assert rounded(table.to_pydict()) == rounded(computed.to_pydict())


def test_rows_come_in_one_order_whatever_the_threads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cells that differ in nothing but their id, some without a position; summed up or not."""
    for number in range(2):
        build = Builder(tmp_path, f"run-{number}")
        for place in range(30):
            cell = build.cell(cell_id=f"c{place * 17 % 31:02}", position=place // 4 or None)
            build.records(cell, 20, forward_ms=float(place * 17 % 31 + 1))
        build.store(merge=bool(number))
    orders: dict[str, set[tuple[Any, ...]]] = {"ladder": set(), "trend": set()}
    for threads in (1, 2, 8):
        monkeypatch.setitem(connection._CONFIG, "threads", threads)
        found = ask(tmp_path, ladder="FROM ladder", trend="FROM trend('static')")
        for question, rows in found.items():
            assert len(rows) == 60
            orders[question].add(
                tuple((row["run_id"], round(row["forward_ms"], 6)) for row in rows)
            )
    ((_,), (trend,)) = orders.values()
    assert list(trend) == sorted(trend)  # times go up with the ids
