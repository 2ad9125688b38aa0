"""A kernel's file: read, absent, or no number."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
from support.boards import put

from jobs.machine.sensors import (
    AbsentError,
    checked_clock_mhz,
    is_temperature,
    read_each,
    read_integer,
    read_text,
    read_texts,
)


def test_what_cannot_be_read_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Gone, a folder, not text; and EAGAIN, which the zone of a GPU answers that is off."""
    file = tmp_path / "temp"
    assert read_text(file) is None
    put(file, "41500")
    assert (read_text(file), read_integer(file)) == ("41500", 41_500)
    file.write_bytes(b"\xff\xfe")
    assert read_text(file) is None
    assert read_text(tmp_path) is None

    def again(*_: object) -> bytes:
        raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")

    monkeypatch.setattr(os, "read", again)
    assert read_text(file) is None


def test_numbers_of_a_pattern(tmp_path: Path) -> None:
    """In the order of names; what is no number is skipped there, and said where it is asked for."""
    for name, text in (("a_cnt", "3"), ("b_cnt", "many"), ("c_cnt", ""), ("d_cnt", "-4")):
        put(tmp_path / name, text)
    assert [(path.name, n) for path, n in read_each(tmp_path, "*_cnt")] == [
        ("a_cnt", 3),
        ("d_cnt", -4),
    ]
    assert read_texts(tmp_path, "*_cnt") == ["3", "many", "-4"]
    assert read_integer(tmp_path / "c_cnt") is None
    with pytest.raises(AbsentError, match="b_cnt reads 'many', which is not a number"):
        read_integer(tmp_path / "b_cnt")


def test_what_can_be_true() -> None:
    """Clocks above 0 up to 20 GHz; temperatures of boards outdoors, but not exactly 0."""
    assert checked_clock_mhz(20_000, "x") == 20_000
    for lie in (-1.0, 0.0, 20_001.0, float("nan")):
        with pytest.raises(AbsentError, match="x reads"):
            checked_clock_mhz(lie, "x")
    assert [is_temperature(c) for c in (-41, -40, 0, 0.5, 150, 151, float("nan"))] == [
        False, True, False, True, True, False, False,
    ]  # fmt: skip
