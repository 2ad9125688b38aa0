"""What commands look like on a real terminal of 80 columns, and in a pipe."""

from __future__ import annotations

import contextlib
import fcntl
import functools
import os
import pty
import re
import struct
import sys
import termios
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from jobs.analysis import curve
from jobs.cli import main

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
WIDER = [["summary", "made"], ["status", "made"], ["curve", "made"]]
PIPED = [["summary", "made"], ["curve", "made"], ["sql", "from laddr"], ["doctor"]]
_SEQUENCE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_COLOUR = re.compile(r"\x1b\[[0-9;]*[1-9][0-9;]*m")


@pytest.fixture(scope="module")
def root(made_run: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A results root with two runs of two models."""
    root = made_run(tmp_path_factory.mktemp("terminal"))
    return made_run(root, "later", day=25)


read_curves = functools.cache(curve.read_curves)
"""Asked once for all commands that draw them: that takes seconds, and is not what is shown here."""


@pytest.fixture(autouse=True)
def _environment(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """As somebody has it who has set nothing but the results root."""
    for name in ("COLUMNS", "NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("GFJOBS_RESULTS", str(root))
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(curve, "read_curves", read_curves)
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def run(commands: list[list[str]]) -> None:
    """Run commands one after the other, each after a line that names it."""
    for arguments in commands:
        print("$", *arguments, flush=True)  # noqa: T201 - as a shell does
        with contextlib.suppress(SystemExit):
            main([*arguments], prog_name="gfjobs")


class Sent:
    """What comes out at the other end of a pipe or terminal.

    Args:
        reader: that end, which is closed in the end.
    """

    def __init__(self, reader: int) -> None:
        self._reader, self._content = reader, b""
        self._thread = threading.Thread(target=self._read)
        self._thread.start()

    def _read(self) -> None:
        with contextlib.suppress(OSError):  # the other end of a terminal is closed
            while part := os.read(self._reader, 1 << 16):
                self._content += part
        os.close(self._reader)

    def text(self) -> str:
        """All of it, once the other end is closed."""
        self._thread.join()
        return self._content.decode()


@contextlib.contextmanager
def _streams(*files: int) -> Iterator[None]:
    """Put the standard input, output and error of this process elsewhere, for a while."""
    ours = sys.stdin, sys.stdout, sys.stderr
    kept = [os.dup(number) for number in range(3)]
    for number, file in enumerate(files):
        os.dup2(file, number)
    theirs = [os.fdopen(n, mode, closefd=False) for n, mode in enumerate(("r", "w", "w"))]
    sys.stdin, sys.stdout, sys.stderr = theirs
    try:
        yield
    finally:
        for stream in theirs:
            stream.close()
        sys.stdin, sys.stdout, sys.stderr = ours
        for number, file in enumerate(kept):
            os.dup2(file, number)
            os.close(file)


def on_terminal(commands: list[list[str]], columns: int = COLUMNS) -> str:
    """Run them on a pseudo-terminal; all that it was sent."""
    reader, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    sent = Sent(reader)
    try:
        with _streams(terminal, terminal, terminal):
            run(commands)
    finally:
        os.close(terminal)
    return sent.text()


def in_pipes(commands: list[list[str]]) -> tuple[str, str]:
    """Run them in pipes; their output, and what they said beside it."""
    (outs, out), (errors, error) = os.pipe(), os.pipe()
    sent = Sent(outs), Sent(errors)
    with Path(os.devnull).open() as nothing:
        try:
            with _streams(nothing.fileno(), out, error):
                run(commands)
        finally:
            os.close(out)
            os.close(error)
    return sent[0].text(), sent[1].text()


@pytest.mark.parametrize("arguments", READING, ids=" ".join)
def test_tables_and_messages_fit_80_columns(arguments: list[str]) -> None:
    """Of every command that shows figures, and of errors; and nothing is coloured."""
    sent = on_terminal([arguments])
    assert sent.count("\n") >= 2, "it says something"
    assert "Traceback" not in sent
    assert max(map(len, sent.splitlines())) <= COLUMNS, sent
    assert not _COLOUR.search(sent)
    assert "\n\n\n" not in sent.replace("\r\n", "\n"), "one blank line is enough"


@pytest.mark.parametrize("arguments", WIDER, ids=" ".join)
def test_a_wider_terminal_shows_the_same(arguments: list[str]) -> None:
    """What fits 80 columns is not stretched, and paragraphs stay as wide as is easy to read."""
    narrow, *wider = (on_terminal([arguments], columns) for columns in (80, 120, 200))
    assert wider == [narrow, narrow]
    assert all(line == line.rstrip(" ") for line in narrow.replace("\r", "").splitlines())


def test_no_color_is_honoured_by_what_moves(
    ladder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bar is coloured on a terminal, and with NO_COLOR it is not; it fits either way."""
    (tmp_path / "grid.yaml").write_text(
        f"models: ['{ladder}/dynn.safetensors']\ndatasets: [{{name: digits, limit: 4}}]\n"
        "measure: [accuracy]\n"
    )
    command = ["submit", "grid.yaml", "--inline", "--results", "results"]
    with monkeypatch.context() as patch:
        patch.setenv("NO_COLOR", "1")
        sent = on_terminal([[*command, "--run", "plain"]])
    assert "━" in sent, "there is a bar"
    assert not _COLOUR.search(sent)
    for line in re.split(r"[\r\n]+", _SEQUENCE.sub("", sent)):
        is_whole = line.startswith(("  gfjobs", "$")) or " " not in line.strip()  # to be copied
        assert len(line) <= COLUMNS or is_whole, line
    assert _COLOUR.search(on_terminal([[*command, "--run", "coloured"]]))


def test_a_pipe_gets_no_control_sequences_and_short_messages() -> None:
    """Not one escape, and errors are as easy to read there as on a terminal."""
    out, said = in_pipes(PIPED)
    assert out.count("$ ") == len(PIPED)
    assert max(map(len, out.splitlines())) <= COLUMNS, out
    assert "\x1b" not in out + said
    message = re.findall(r"closest names: .*?`gfjobs schema.*?mean", said, re.DOTALL)
    assert "ladder" in message[0]
    assert max(map(len, message[0].splitlines())) <= COLUMNS
