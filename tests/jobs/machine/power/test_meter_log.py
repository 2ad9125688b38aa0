"""A wall meter's log: what is read, and every line that cannot be."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import pytest

from jobs.common.errors import BadInputError
from jobs.machine.power.meter_log import read_log


def at(second: int) -> datetime:
    """A moment of the logs below."""
    return datetime(2026, 11, 25, 8, 0, second)  # noqa: DTZ001 (naive UTC)


@pytest.mark.parametrize(
    "text",
    [
        "time,watts\n2026-11-25T08:00:01Z,12.5\n2026-11-25T08:00:02+00:00,8\n",
        "time;watts\n2026-11-25T09:00:02+01:00;8\n\n2026-11-25T08:00:01z;12,5\n",
        "\ufeffWatts, Time\n12.5, 1795593601\n8, 1795593602.0\n",
    ],
    ids=["comma", "semicolon", "epoch"],
)
def test_forms_of_a_log(text: str, tmp_path: Path) -> None:
    """Commas or semicolons with a decimal comma, any zone, columns in any order; sorted by time."""
    path = tmp_path / "meter.csv"
    path.write_text(text)
    lines = read_log(path)
    assert [(line.at, line.power_mw, line.node) for line in lines] == [
        (at(1), 12_500.0, None),
        (at(2), 8000.0, None),
    ]


def test_nodes_are_named_where_there_are_several(tmp_path: Path) -> None:
    """And each line knows its number."""
    path = tmp_path / "meter.csv"
    path.write_text("time,watts,node\n1795593601,9,b\n1795593601,8, a\n1795593602,8,\n")
    assert [(line.line, line.node) for line in read_log(path)] == [(2, "b"), (3, "a"), (4, None)]


def test_every_bad_line_is_told(tmp_path: Path) -> None:
    """With its number, its column, what stands there and what may."""
    path = tmp_path / "meter.csv"
    path.write_text(
        "time,watts\n2026-11-25 08:00,9\nyesterday,9\n1795593601,nine\n1795593601,-1\n"
        "1795593601,nan\n1795593601\n1e300,4\n1795593601,4\n1795593601,8,3\n1795593601,1e7\n"
        "0001-01-01T00:00:00+05:00,9\n9999-12-31T23:59:59-05:00,9\n"
    )
    with pytest.raises(BadInputError) as caught:
        read_log(path)
    found = [(problem.line, problem.key, problem.found) for problem in caught.value.problems]
    assert found == [
        (2, "time", "'2026-11-25 08:00'"),  # of no zone
        (3, "time", "'yesterday'"),
        (4, "watts", "'nine'"),
        (5, "watts", "'-1'"),
        (6, "watts", "'nan'"),
        (7, "watts", "''"),
        (8, "time", "'1e300'"),
        (10, "", "3 fields"),  # a decimal comma, of which 8 W would be left
        (11, "watts", "'1e7'"),
        (12, "time", "'0001-01-01T00:00:00+05:00'"),  # before the year 1 in UTC
        (13, "time", "'9999-12-31T23:59:59-05:00'"),
    ]
    assert "ISO 8601 with a zone" in caught.value.problems[0].allowed


def test_a_log_that_contradicts_itself_is_refused(tmp_path: Path) -> None:
    """Both lines and both values are told; saying the same twice is none, and other nodes are."""
    path = tmp_path / "meter.csv"
    path.write_text(
        "time,watts,node\n1795593601,9,a\n1795593601,8,b\n1795593602,9,a\n"
        "2026-11-25T08:00:01Z,9,a\n1795593601,9.5,a\n1795593602,7,\n"
    )
    with pytest.raises(BadInputError) as caught:
        read_log(path)
    assert [str(problem) for problem in caught.value.problems] == [
        f"{path}:6: watts: 9.5, but 9 at the same time in line 2\n    allowed: one value per time",
        f"{path}:7: watts: 7, but 9 at the same time in line 4\n    allowed: one value per time",
    ]
    path.write_text("time,watts\n1795593601,9\n1795593601.0,9.0\n1795593602,9\n")
    assert [line.line for line in read_log(path)] == [2, 4]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "No such file"),
        (b"", "meter.csv:1: no column time and no column watts\n"),
        (b"when,watts\n1,2\n", "meter.csv:1: no column time among when, watts"),
        (b"time,watts\n", "no line below the header"),
        (b"\xfe\x00t", "not UTF-8 text"),
        ("time,watts\n1,2\n".encode("utf-16"), "text in UTF-16, as PowerShell writes it: save"),
        (b"time,watts,watts\n1,2,3\n", "several columns watts among time, watts, watts"),
        (b"time,watts\n1764057600000,8\n", "'1764057600000', perhaps milliseconds since 1970"),
        (b"time,watts\n1795593601,1_0\n", "watts: '1_0'"),
        (b"time,watts\n1_795_593_601,8\n", "time: '1_795_593_601'"),
        ("time,watts\n1795593601,٨\n".encode(), "watts: '٨'"),
        (b"time,watts\n" + 100 * b"x,y\n", "180 more lines with problems"),
    ],
)
def test_what_is_no_log_is_said(content: bytes | None, words: str, tmp_path: Path) -> None:
    """One line, or the first problems and how many there are."""
    path = tmp_path / "meter.csv"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(BadInputError, match=words):
        read_log(path)


def log_of(path: Path, *watts: str, separator: str = ";") -> Path:
    """A log of some numbers, a second apart."""
    lines = [f"{1795593600 + second}{separator}{text}" for second, text in enumerate(watts)]
    path.write_text("\n".join([f"time{separator}watts", *lines]) + "\n")
    return path


@pytest.mark.parametrize(
    ("watts", "expected"),
    [
        (("1.005", "8.25"), (1.005, 8.25)),
        (("1,005", "8,25"), (1.005, 8.25)),
        (("1.005", "0.500"), (1.005, 0.5)),
        (("1.005", "1005.125"), (1.005, 1005.125)),
        (("1.005,25", "1.005"), (1005.25, 1005.0)),
        (("1,005.25", "1,005"), (1005.25, 1005.0)),
        (("1.005", "998,5"), (1005.0, 998.5)),
        (("10.005.000,5", "7"), None),  # beyond any machine
        (("7", "8"), (7.0, 8.0)),
        (("1e2", "8"), (100.0, 8.0)),
    ],
)
def test_the_decimal_mark_is_the_one_that_shows(
    tmp_path: Path, watts: tuple[str, ...], expected: tuple[float, ...] | None
) -> None:
    """One number that can be read in one way alone decides for all of them."""
    path = log_of(tmp_path / "meter.csv", *watts)
    if expected is None:
        with pytest.raises(BadInputError, match="a number from 0 to"):
            read_log(path)
    else:
        assert tuple(line.power_mw / 1000 for line in read_log(path)) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("watts", "decimal", "other"), [("1.005", "point", "comma"), ("1,005", "comma", "point")]
)
def test_watts_that_can_be_read_in_two_ways(
    tmp_path: Path, watts: str, decimal: str, other: str
) -> None:
    """Both are shown, a factor of 1,000 apart; the user decides."""
    path = log_of(tmp_path / "meter.csv", "7", watts, watts)
    with pytest.raises(BadInputError) as caught:
        read_log(path)
    (problem,) = caught.value.problems
    assert (problem.line, problem.key) == (3, "watts")
    assert problem.found == f"{watts} W is 1.005 W, or 1005 W if the mark separates thousands"
    assert problem.allowed == f"--decimal {decimal} for the first, --decimal {other} for the second"
    for choice, expected in ((decimal, 1.005), (other, 1005.0)):
        assert [line.power_mw / 1000 for line in read_log(path, choice)] == [7, expected, expected]


def test_a_log_with_two_decimal_marks(tmp_path: Path) -> None:
    """One of them is wrong, and which is not known."""
    path = log_of(tmp_path / "meter.csv", "7.5", "7,25", "1.005")
    with pytest.raises(BadInputError, match=r"csv:3: watts: 7,25, and 7\.5 in line 2"):
        read_log(path)
    with pytest.raises(BadInputError, match=r"csv:3: watts: '7,25'"):
        read_log(path, "point")


def test_between_commas_a_point_is_decimal(tmp_path: Path) -> None:
    """As in any CSV; groups of three digits must be such."""
    path = log_of(tmp_path / "meter.csv", "1.005", '"1,005"', '"10,05"', separator=",")
    with pytest.raises(BadInputError, match=r"csv:4: watts: '10,05'") as caught:
        read_log(path)
    assert len(caught.value.problems) == 1


def test_commas_in_quotes_between_commas(tmp_path: Path) -> None:
    """Decimal ones, if one shows it; never a thousandfold power without a word."""
    log = log_of(tmp_path / "meter.csv", '"8,123"', '"7,95"', separator=",")
    assert [line.power_mw for line in read_log(log)] == pytest.approx([8123, 7950])
    log = log_of(tmp_path / "meter.csv", '"8,123"', '"7,950"', separator=",")
    with pytest.raises(
        BadInputError, match=r"8,123 W is 8\.123 W, or 8123 W if the mark separates"
    ):
        read_log(log)
    assert [line.power_mw for line in read_log(log, "comma")] == pytest.approx([8123, 7950])
