"""What commands look like on a real terminal of 80 columns, and in a pipe."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from collections.abc import Callable
from pathlib import Path

import pytest

import storage

PROJECT = Path(storage.__file__).parents[1]
COLUMNS = 80
READING = [
    ["runs"],
    ["summary", "made"],
    ["status", "made"],
    ["watch", "made"],
    ["curve", "made"],
    ["curve", "made", "--all"],
    ["choose", "made", "--max-drop", "5", "--bands", "3"],
    ["certify", "made"],
    ["compare", "made", "later"],
    ["judge", "later", "--no-again"],
    ["sql", "from ladder"],
    ["sql", "from laddr"],
    ["models"],
    ["doctor"],
    ["summary", "nothing-of-that-name"],
]
PIPED = [["summary", "made"], ["curve", "made"], ["sql", "from laddr"], ["doctor"]]
_SCRIPT = """
import json, sys
from jobs.cli import main
for arguments in json.loads(sys.argv[1]):
    print("$", *arguments, flush=True)
    try:
        main([*arguments], prog_name="gfjobs")
    except SystemExit:
        pass
"""
_SEQUENCE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_COLOUR = re.compile(r"\x1b\[[0-9;]*[1-9][0-9;]*m")
Run = Callable[..., str]


@pytest.fixture(scope="module")
def root(made_run: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A results root with two runs of two models."""
    root = made_run(tmp_path_factory.mktemp("terminal"))
    return made_run(root, "later", day=25)


@pytest.fixture
def on_terminal(root: Path, tmp_path: Path) -> Run:
    """Run commands one after the other on a pseudo-terminal; all that it was sent comes back."""

    def run(commands: list[list[str]], **variables: str) -> str:
        reader, terminal = pty.openpty()
        fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 40, COLUMNS, 0, 0))
        process = subprocess.Popen(
            [sys.executable, "-c", _SCRIPT, json.dumps(commands)],
            env=_environment(root, TERM="xterm-256color", **variables),
            cwd=tmp_path,
            stdin=terminal,
            stdout=terminal,
            stderr=terminal,
        )
        os.close(terminal)
        sent = b""
        try:
            while part := os.read(reader, 1 << 16):
                sent += part
        except OSError:  # the other end is closed
            pass
        os.close(reader)
        assert process.wait() == 0, sent.decode()
        return sent.decode()

    return run


def _environment(root: Path, **variables: str) -> dict[str, str]:
    dropped = ("COLUMNS", "NO_COLOR", "FORCE_COLOR")
    kept = {name: text for name, text in os.environ.items() if name not in dropped}
    return kept | {"GFJOBS_RESULTS": str(root), "PYTHONPATH": str(PROJECT)} | variables


def test_tables_and_messages_fit_80_columns(on_terminal: Run) -> None:
    """Of every command that shows figures, and of errors; and nothing is coloured."""
    sent = on_terminal(READING)
    assert sent.count("$ ") >= len(READING)
    assert "Traceback" not in sent
    for line in sent.splitlines():
        assert len(line) <= COLUMNS, line
    assert not _COLOUR.search(sent)
    assert "\n\n\n" not in sent.replace("\r\n", "\n"), "one blank line is enough"


def test_no_color_is_honoured_by_what_moves(on_terminal: Run, ladder: Path, tmp_path: Path) -> None:
    """A bar is coloured on a terminal, and with NO_COLOR it is not; it fits either way."""
    (tmp_path / "grid.yaml").write_text(
        f"models: ['{ladder}/dynn.safetensors']\ndatasets: [{{name: digits, limit: 4}}]\n"
        "measure: [accuracy]\n"
    )
    command = ["submit", "grid.yaml", "--inline", "--results", "results"]
    sent = on_terminal([[*command, "--run", "plain"]], NO_COLOR="1")
    assert "━" in sent, "there is a bar"
    assert not _COLOUR.search(sent)
    for line in re.split(r"[\r\n]+", _SEQUENCE.sub("", sent)):
        is_whole = line.startswith(("  gfjobs", "$")) or " " not in line.strip()  # to be copied
        assert len(line) <= COLUMNS or is_whole, line
    assert _COLOUR.search(on_terminal([[*command, "--run", "coloured"]]))


def test_a_pipe_gets_no_control_sequences_and_short_messages(root: Path) -> None:
    """Not one escape, and errors are as easy to read there as on a terminal."""
    done = subprocess.run(
        [sys.executable, "-c", _SCRIPT, json.dumps(PIPED)],
        env=_environment(root),
        capture_output=True,
        text=True,
        check=True,
    )
    assert "\x1b" not in done.stdout + done.stderr
    message = re.findall(r"Tables, views, macros: .*?`DESCRIBE", done.stderr, re.DOTALL)
    assert "wasted_blocks(run, t)" in message[0]
    assert max(map(len, message[0].splitlines())) <= COLUMNS
