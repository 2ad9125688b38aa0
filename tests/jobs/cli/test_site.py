"""`gfjobs site`: what it asks for; the server is tested in tests/integration/test_live.py."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from jobs.cli import main
from jobs.cli.base import BAD_INPUT


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ((), "no output is given: give -o DIR, or --serve"),
        (("--port", "8000", "-o", "x"), "--port is of the server: add --serve"),
        (("--serve", "--port", "0"), "0 is not in the range 1<=x<=65535"),
        (("--serve", "--port", "80000"), "80000 is not in the range"),
    ],
)
def test_options_that_do_not_fit(options: tuple[str, ...], said: str, tmp_path: Path) -> None:
    """Are told before anything is read or made."""
    result = CliRunner().invoke(main, ["site", *options, "--results", str(tmp_path / "none")])
    assert result.exit_code == BAD_INPUT
    assert said in result.stderr
    assert not (tmp_path / "none").exists()


def test_a_site_is_written(made_run: Callable[..., Path], tmp_path: Path) -> None:
    """Into a folder, from which a browser opens it; the messages are on stderr."""
    root, folder = made_run(tmp_path / "results"), tmp_path / "site"
    words = ["site", "-o", str(folder), "--whole", "0", "--results", str(root)]
    result = CliRunner().invoke(main, words)
    assert result.exit_code == 0, result.output
    assert result.stdout == ""
    assert "made 1 of 1 runs anew" in result.stderr
    assert f"open {folder / 'index.html'} in a browser" in result.stderr.replace("\n", " ")
    assert (folder / "runs" / "made.html").is_file()


def test_a_root_without_runs(tmp_path: Path) -> None:
    """Is told as by other commands."""
    words = ["site", "-o", str(tmp_path / "site"), "--results", str(tmp_path / "none")]
    result = CliRunner().invoke(main, words)
    assert result.exit_code == BAD_INPUT
    assert "there are no results at" in result.stderr
