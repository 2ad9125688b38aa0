"""A Jetson's power mode by name and number, and when two are the same."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.boards import BOARDS, build_board, put

from jobs.machine.power_mode import are_same_modes, power_mode
from jobs.machine.sensors import AbsentError


@pytest.mark.parametrize(
    ("board", "mode"),
    [
        ("orin-nano", "MAXN_SUPER (2)"),
        ("orin-nx", "25W (3)"),
        ("agx-orin", "MAXN (0)"),
        ("xavier-nx", "MODE_15W_6CORE (2)"),
        ("thor", "120W (1)"),
    ],
)
def test_modes_of_boards(tmp_path: Path, board: str, mode: str) -> None:
    """The fan's mode beside it, and modes in comments, count for nothing."""
    assert power_mode(build_board(tmp_path, BOARDS[board])) == mode


def test_a_mode_without_a_name_is_its_number(tmp_path: Path) -> None:
    """Where the file of names is gone or does not have it, or the name would not survive."""
    with pytest.raises(AbsentError, match="no nvpmodel"):
        power_mode(tmp_path)
    put(tmp_path / "var/lib/nvpmodel/status", "pmode:0002")
    assert power_mode(tmp_path) == "2"
    put(tmp_path / "etc/nvpmodel.conf", "< POWER_MODEL ID=1 NAME=25W >\n")
    assert power_mode(tmp_path) == "2"
    put(tmp_path / "etc/nvpmodel.conf", "< POWER_MODEL ID=2 NAME=15W, quiet >\n")
    assert power_mode(tmp_path) == "2"
    put(tmp_path / "etc/nvpmodel.conf", "< POWER_MODEL ID=2 NAME=15W >\n")
    assert power_mode(tmp_path) == "15W (2)"


@pytest.mark.parametrize("lie", ["", "pmode:", "pmode:-1", "pmode:99999", "2", "\x00"])
def test_a_status_that_names_no_mode(tmp_path: Path, lie: str) -> None:
    """It is said what stands there."""
    put(tmp_path / "var/lib/nvpmodel/status", lie)
    with pytest.raises(AbsentError, match="nvpmodel's status reads '"):
        power_mode(tmp_path)


@pytest.mark.parametrize(
    ("first", "second", "is_same"),
    [
        ("MAXN (0)", "MAXN (0)", True),
        ("0", "MAXN (0)", True),
        ("MAXN (0)", "15W (0)", False),
        ("2", "MAXN (0)", False),
        ("0", "2", False),
        (None, "0", False),
        (None, None, True),
        ("0, 2", "MAXN (0), 15W (2)", True),
        ("0, 2", "MAXN (0)", False),
        ("15W", "15W (2)", False),
    ],
)
def test_a_number_is_the_mode_of_that_number(first: str, second: str, is_same: bool) -> None:
    """Older rows have it alone; two names of one number are two modes."""
    assert are_same_modes(first, second) is is_same
    assert are_same_modes(second, first) is is_same
