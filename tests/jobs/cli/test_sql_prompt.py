"""The prompt of `gfjobs sql`: what is typed, completed, remembered and answered."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import stat
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner
from prompt_toolkit.application import create_app_session
from prompt_toolkit.completion import CompleteEvent
from prompt_toolkit.document import Document
from prompt_toolkit.input import create_pipe_input
from prompt_toolkit.output import DummyOutput

import storage
from jobs.cli import main, sql_prompt
from jobs.cli.sql_completion import candidates
from jobs.cli.sql_prompt import history_file, is_finished, run_prompt

LIMIT_S = 60.0


@pytest.fixture(scope="module")
def root(made_run: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A results root with a run."""
    return made_run(tmp_path_factory.mktemp("prompt") / "results", kinds=("latency",))


@pytest.fixture(autouse=True)
def _state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


Typed = Callable[[str], tuple[str, str]]


@pytest.fixture
def typed(root: Path, capsys: pytest.CaptureFixture[str]) -> Typed:
    """Types a text at the prompt, then Ctrl-D; what was printed, and what was said."""

    def run(text: str) -> tuple[str, str]:
        with create_pipe_input() as keys, create_app_session(input=keys, output=DummyOutput()):
            keys.send_text(f"{text}\x04")
            run_prompt(root, None, is_all=False)
        return capsys.readouterr()

    return run


def test_a_statement_goes_on_until_its_semicolon(typed: Typed) -> None:
    """Over several lines; a semicolon in a text ends nothing."""
    out, err = typed("select ';' as a,\r  2 as b\r;\rselect 3 as c; select 4 as d;\r")
    assert out.split() == ["a", "b", "─" * 4, ";", "2", "c", "─", "3", "d", "─", "4"]
    assert err.splitlines() == [
        "End a statement with a semicolon. .help shows more, Ctrl-D leaves."
    ]


def test_ctrl_c_abandons_the_line(typed: Typed) -> None:
    """And the prompt goes on."""
    assert typed("select 1 as one\r\x03select 2 as two;\r")[0].split() == ["two", "───", "2"]


@pytest.mark.parametrize("word", ["exit", "quit", ".exit", "EXIT;", " quit ; "])
def test_exit_leaves(typed: Typed, word: str) -> None:
    """As Ctrl-D does; nothing after it is run."""
    assert typed(f"select 1 as one;\r{word}\rselect 2 as two;\r")[0].split() == ["one", "───", "1"]


def test_an_error_is_a_message_and_the_prompt_goes_on(typed: Typed, root: Path) -> None:
    """The same as of `gfjobs sql QUERY`, with near names; what follows on the line is not run."""
    out, err = typed("from laddr; select 1 as one;\rselect 2 as two;\r")
    assert out.split() == ["two", "───", "2"]
    assert "Did you mean" in err
    assert "Traceback" not in err
    alone = CliRunner().invoke(main, ["sql", "from laddr", "--results", str(root)])
    assert alone.stderr.removeprefix("gfjobs: ") in err


def test_what_is_created_stays(typed: Typed) -> None:
    """Until the prompt is left; that rows are of that moment is said once."""
    out, err = typed("create table t as select 6 as a;\rcreate table u as from t;\rfrom u;\r")
    assert out.split() == ["a", "─", "6"]
    assert err.count("something of its own") == 1


def test_commands_of_the_prompt(typed: Typed) -> None:
    """Columns and meanings, all columns of the last result, help; and what is none."""
    out, err = typed(".schema ladder\r.schema\r.all\r.help\r.tables\rselect 5 as five;\r.all\r")
    assert "view ladder: one model and threshold" in out
    assert "macros: one row is" in out
    assert ".schema NAME" in out
    assert out.split()[-6:] == ["five", "────", "5", "five", "────", "5"]
    assert "there is no result yet" in err
    assert "'.tables' is no command here" in err


def test_statements_are_complete_or_not() -> None:
    """Enter sends the one and goes to a new line in the other."""
    for text in ("", "from runs;", "select 1; select 2;", ".all", "exit", " Quit", "-- a"):
        assert is_finished(text), text
    for text in ("from runs", "select ';", "from runs; from cells", "/* from runs;", "exits"):
        assert not is_finished(text), text


def texts(before: str, after: str = "") -> list[str]:
    """What is offered at the cursor."""
    return [each.text for each in candidates(before, after)]


def test_completion_of_tables_views_and_macros() -> None:
    """After from and join; a macro with its parenthesis."""
    assert texts("from lad") == ["ladder"]
    assert texts("select 1 from RUNS join cell_") == [
        "cell_energies",
        "cell_powers",
        "cell_resources",
    ]
    assert "frontier(" in texts("from front")
    assert set(storage.TABLES) <= set(texts("describe "))
    assert texts(".schema regr") == ["regressions"]


def test_completion_of_columns() -> None:
    """Of the tables that the statement names, before or behind the cursor; else of all."""
    assert texts("select forw", " from ladder") == ["forward_ms"]
    assert texts("select * from images where class_n") == ["class_name"]
    assert "trip_c" in texts("select trip")
    assert "trip_c" not in texts("select tr", " from images")
    assert texts("select max(r.grid) from runs r where r.sub") == ["submitted_at"]
    assert texts("select records.devi") == ["device", "device_ms"]
    assert texts("select t.acc1_ch", " from trend('dynn') t") == ["acc1_change"]
    assert texts("select none.mod", " from ladder") == []


def test_completion_of_words_and_of_none_in_a_text() -> None:
    """Of SQL; a string is not completed."""
    assert "group by" in texts("select model from ladder gro")
    assert texts("select * from ladder where model = 'dy") == []
    assert all(each.meaning for each in candidates("select forw", " from ladder"))


def test_the_prompt_offers_names_with_their_meanings() -> None:
    """In the place of the word that is begun."""
    offered = sql_prompt._Completer().get_completions(Document("from lad"), CompleteEvent())
    (found,) = offered
    assert (found.text, found.start_position) == ("ladder", -len("lad"))
    assert "one model and threshold" in found.display_meta_text


def test_history_is_kept_for_the_user_alone(typed: Typed) -> None:
    """In the state folder, from one day to the next."""
    typed("select 1 as\r  one;\r")
    assert "+select 1 as\n+  one;" in history_file().read_text()
    assert stat.S_IMODE(history_file().stat().st_mode) == 0o600
    assert typed("\x1b[A\r")[0].split() == ["one", "───", "1"]


def test_a_history_that_cannot_be_kept_is_no_error(
    typed: Typed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where the home folder is not writable, or the file is a folder."""
    (tmp_path / "file").touch()
    for folder in (tmp_path / "file", tmp_path / "other"):
        monkeypatch.setenv("XDG_STATE_HOME", str(folder))
        if folder.name == "other":
            history_file().mkdir(parents=True)
        assert typed("select 1 as one;\r")[0].split() == ["one", "───", "1"]


def test_no_root_is_an_error_at_once(tmp_path: Path) -> None:
    """And not with the first statement."""
    with pytest.raises(storage.StorageError, match="no such folder"):
        run_prompt(tmp_path / "none", None, is_all=False)


class Terminal:
    """`gfjobs sql` on a pseudo-terminal of its own, as somebody types at it."""

    def __init__(self, arguments: list[str], stdout: int | None = None) -> None:
        self._ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 80, 0, 0))
        code = "from jobs.cli import main; main(prog_name='gfjobs')"
        self.process = subprocess.Popen(
            [sys.executable, "-c", code, "sql", *arguments],
            stdin=theirs,
            stdout=theirs if stdout is None else stdout,
            stderr=theirs,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # noqa: PLW1509
            env=os.environ | {"TERM": "xterm-256color", "PROMPT_TOOLKIT_NO_CPR": "1"},
        )
        os.close(theirs)
        self.sent = ""

    def type(self, text: str) -> None:
        """Type a text."""
        os.write(self._ours, text.encode())

    def wait_for(self, pattern: str, keys: str = "") -> None:
        """Read until something is shown; type keys each time that nothing comes for a while."""
        start, end_s = len(self.sent), time.monotonic() + LIMIT_S
        while not re.search(pattern, self.sent[start:]):
            assert time.monotonic() < end_s, self.sent
            if not select.select([self._ours], [], [], 0.5)[0]:
                self.type(keys)
                continue
            try:
                self.sent += os.read(self._ours, 1 << 16).decode()
            except OSError:  # it ended
                assert re.search(pattern, self.sent[start:]), self.sent

    def close(self) -> int:
        """Wait for its end; its exit code."""
        try:
            return self.process.wait(LIMIT_S)
        finally:
            self.process.kill()
            os.close(self._ours)


@pytest.fixture
def on_terminal(root: Path) -> Iterator[Callable[..., Terminal]]:
    """Starts `gfjobs sql` on a terminal; it is ended in the end."""
    started: list[Terminal] = []

    def start(stdout: int | None = None) -> Terminal:
        started.append(Terminal(["--results", str(root)], stdout))
        return started[-1]

    yield start
    for terminal in started:
        terminal.process.kill()
        terminal.process.wait()


def test_ctrl_c_ends_a_query_and_not_the_prompt(on_terminal: Callable[..., Terminal]) -> None:
    """On a real terminal; the next statement is answered, and Ctrl-D leaves."""
    terminal = on_terminal()
    terminal.wait_for("gfjobs>")
    terminal.type("select sum(i * i % 7) from range(100_000_000_000) t(i);\r")
    terminal.wait_for(r"interrupted[\s\S]*gfjobs>", keys="\x03")
    terminal.type("select 6 * 7 as answer;\r")
    terminal.wait_for(r"(?m)^ +42\r$[\s\S]*gfjobs>")
    terminal.type("\x04")
    assert terminal.close() == 0


def test_a_prompt_needs_a_terminal_on_both_sides(
    on_terminal: Callable[..., Terminal], tmp_path: Path
) -> None:
    """Tables would go to a file without a word of what is typed."""
    with (tmp_path / "rows.csv").open("w") as file:
        terminal = on_terminal(stdout=file.fileno())
        terminal.wait_for("without a query there is a prompt")
        assert terminal.close() == 2
