"""The expressions that queries are made of, each by hand and at its edges."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

import storage

if TYPE_CHECKING:
    from pathlib import Path

    from tests.storage.conftest import Builder

T_95 = {2: 12.706, 3: 4.303, 4: 3.182, 9: 2.306, 16: 2.131, 31: 2.042, 32: 2.040, 61: 2.000}


def _values(root: Path, *expressions: str) -> list[Any]:
    """What each expression is."""
    columns = ", ".join(f"{each} AS c{number}" for number, each in enumerate(expressions))
    (row,) = storage.query(root, f"SELECT {columns}").to_pylist()
    return list(row.values())


def test_energy_above_idle(tmp_path: Path) -> None:
    """(9 - 5) W x 3 ms = 12 mJ; none of as much as idling, of less, and of what is not known."""
    powers = ["9.0, 5.0, 3.0", "5.0, 5.0, 3.0", "4.9, 5.0, 3.0", "9.0, NULL, 3.0", "NULL, 5.0, 3.0"]
    found = _values(tmp_path, *(f"above_idle_mj({each})" for each in powers))
    assert found == [12.0, None, None, None, None]


def test_why_there_is_none_above_idle(tmp_path: Path) -> None:
    """As much as idling counts; a third decimal only where one does not tell the two apart."""
    powers = ["8.0, 8.0", "7.9, 8.04", "7.96, 8.04", "8.1, 8.0"]
    said = "power while running was not above idle: {} W against {} W"
    assert _values(tmp_path, *(f"not_above_idle({each})" for each in powers)) == [
        said.format("8.0", "8.0"),
        said.format("7.9", "8.0"),
        said.format("7.960", "8.040"),
        None,
    ]


def test_means_by_time(tmp_path: Path) -> None:
    """10 for 1 s and 4 for 3 s are 5.5; where nothing lasted both count alike."""
    rows = "(VALUES (10.0, {}), (4.0, {})) rows(value, duration)"
    for durations, expected in (((1, 3), 5.5), ((0, 0), 7.0), ((0, 3), 4.0)):
        sql = f"SELECT by_time(value, duration) AS mean FROM {rows.format(*durations)}"  # noqa: S608
        assert storage.query(tmp_path, sql).to_pylist() == [{"mean": expected}]


def test_students_t_as_tables_have_it(tmp_path: Path) -> None:
    """Of so many values, one degree of freedom less; of one there is no interval."""
    found = _values(tmp_path, *(f"student_t({number})" for number in (1, *T_95)))
    assert found == [None, *(pytest.approx(t, abs=1e-3) for t in T_95.values())]


def test_half_an_interval_of_a_mean_ratio_by_rounds(tmp_path: Path) -> None:
    """12.706 x 0.0141 / sqrt(2); one round has none, nor have rounds that do not vary."""
    lists = ("[0.0, 0.02]", "[0.01]", "[0.01, 0.01, 0.01]", "NULL::DOUBLE[]")
    found = _values(tmp_path, *(f"ratio_margin({each})" for each in lists))
    assert found == [pytest.approx(0.12706), None, None, None]


@pytest.mark.parametrize(
    ("figures", "verdict"),
    [
        ("0.0, -2.0, 2.0", "within"),
        ("0.0, -2.1, 2.0", "unclear"),
        ("0.0, -2.0, 2.1", "unclear"),
        ("3.0, 2.0, 4.0", "unclear"),
        ("3.0, 2.1, 4.0", "beyond"),
        ("-3.0, -4.0, -2.0", "unclear"),
        ("-3.0, -4.0, -2.1", "beyond"),
        ("2.0, NULL, NULL", "unclear"),
        ("2.1, NULL, NULL", "beyond"),
        ("-2.1, NULL, NULL", "beyond"),
        ("NULL, NULL, NULL", None),
    ],
)
def test_an_interval_decides_whether_an_error_is_tolerable(
    tmp_path: Path, figures: str, verdict: str | None
) -> None:
    """All of it within 2 %, none of it, or some; without an interval the error alone."""
    typed = ", ".join(f"{each}::DOUBLE" for each in figures.split(", "))
    assert _values(tmp_path, f"composed_verdict({typed}, 2.0)") == [verdict]


def test_samples_that_a_percentile_needs(tmp_path: Path) -> None:
    """The bound of MLPerf's LoadGen."""
    found = _values(tmp_path, *(f"samples_for({each})" for each in (50, 90, 99)))
    assert found == [11, 64, 662]


def test_how_many_rounds_energy_is_of(tmp_path: Path) -> None:
    """Only where that is not all."""
    found = _values(tmp_path, "some_rounds(2, 3)", "some_rounds(3, 3)")
    assert found == ["energy from 2 of 3 rounds", None]


def test_gates_are_before_the_last_block(tmp_path: Path) -> None:
    """Of a model of four blocks that is 3; of a depth that is not known all are gates."""
    given = ["[0, 2], 4", "[1, 2, 3], 4", "[1, 3], NULL", "NULL, 4"]
    found = _values(tmp_path, *(f"gates({each})" for each in given))
    assert found == [[0, 2], [1, 2], [1, 3], []]


def test_who_leaves(tmp_path: Path) -> None:
    """At the threshold as float32 and above it; NaN never, the last block always."""
    given = ["0.613::FLOAT, 0.613", "0.5, 0.5", "0.4, 0.5", "'nan'::FLOAT, 0.5", "NULL, 0.5"]
    given += ["'nan'::FLOAT, '-inf'::DOUBLE", "0.9, 'inf'::DOUBLE"]
    found = _values(tmp_path, *(f"leaves({each})" for each in given))
    assert found == [True, True, False, False, True, False, False]


def test_cells_of_one_setting(build: Builder) -> None:
    """Alike in all that decides what a model takes, where it is not known, too."""
    build.cell()
    build.cell(batch_size=8, dataset="other", kind="exits", images=3)
    for change in (
        {"model": "m"},
        {"checkpoint_sha256": "c"},
        {"exit_blocks": (1, 3)},
        {"device": "gpu"},
        {"node": "node-b"},
        {"runtime": "onnx"},
        {"precision": "int8"},
        {"threads": 9},
        dict.fromkeys(("checkpoint_sha256", "node", "device", "threads", "precision", "runtime")),
    ):
        build.cell(**change)
    build.store()
    sql = "SELECT a.position, b.position FROM cells a JOIN cells b ON same_setting(a, b)"
    found = [
        tuple(row.values()) for row in storage.query(build.root, f"{sql} ORDER BY ALL").to_pylist()
    ]
    expected = [(0, 0), (0, 1), (1, 0), (1, 1), *((each, each) for each in range(2, 11))]
    assert found == expected


def test_cells_of_one_work(build: Builder) -> None:
    """Alike in all that decides what is predicted but the device, where it is not known, too."""
    build.cell()
    build.cell(batch_size=8, kind="exits", device="gpu", node="node-b", images=3)
    for change in (
        {"model": "m"},
        {"checkpoint_sha256": "c"},
        {"exit_blocks": (1, 3)},
        {"dataset": "other"},
        {"dataset_sha256": "d1"},
        {"runtime": "onnx"},
        {"precision": "int8"},
        {"threads": 9},
        dict.fromkeys(("checkpoint_sha256", "dataset_sha256", "threads", "precision", "runtime")),
    ):
        build.cell(**change)
    build.store()
    sql = "SELECT a.position, b.position FROM cells a JOIN cells b ON same_work(a, b)"
    found = [
        tuple(row.values()) for row in storage.query(build.root, f"{sql} ORDER BY ALL").to_pylist()
    ]
    expected = [(0, 0), (0, 1), (1, 0), (1, 1), *((each, each) for each in range(2, 11))]
    assert found == expected
