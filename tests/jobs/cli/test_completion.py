"""Completion, as a real bash does it with the script that `gfjobs completion bash` prints."""

from __future__ import annotations

import contextlib
import os
import pty
import shutil
import subprocess
import sys
from datetime import datetime, timezone
from pathlib import Path

import pytest
from click.testing import CliRunner

import storage
from jobs.cli import main
from jobs.cli.completion import SHELLS
from jobs.nightly.ledger import Ledger
from jobs.nightly.records import Entry

PROJECT = Path(storage.__file__).parents[1]

_PRESS = """
source "./gfjobs.bash"
COMP_LINE="$*"; COMP_POINT=${#COMP_LINE}; COMPREPLY=()
compopt() { local IFS=" "; echo "compopt $*"; }
"$(complete -p gfjobs | sed 's/.*-F \\([^ ]*\\).*/\\1/')" gfjobs
printf '%s\\n' "${COMPREPLY[@]}"
"""


@pytest.fixture(scope="module")
def root(ladder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A results root with two runs, of two models each; one name would need quoting."""
    folder = tmp_path_factory.mktemp("completion")
    for run, name, other in (("first", "one", "dynn"), ("second", "'$(two) *'", "flat")):
        grid = folder / f"{run}.yaml"
        grid.write_text(
            f"models: [{{name: {name}, checkpoint: '{ladder}/flat.safetensors'}},"
            f" '{ladder}/{other}.safetensors']\n"
            "datasets: [{name: digits, limit: 4}]\nmeasure: [accuracy]\n"
        )
        arguments = ["submit", str(grid), "--inline", "--run", run, "--results", str(folder / "r")]
        done = CliRunner().invoke(main, arguments)
        assert done.exit_code == 0, done.output
    return folder / "r"


class Tab:
    """What bash offers on TAB.

    Args:
        folder: with `gfjobs`, and the script that completes it.
        root: the results root of the environment.
    """

    def __init__(self, folder: Path, root: Path) -> None:
        self._folder, self._root = folder, root

    def __call__(self, *words: str, results: Path | str | None = None) -> list[str]:
        """After these words, the last of which is begun."""
        done = subprocess.run(
            ["bash", "--norc", "-c", _PRESS, "bash", "gfjobs", *words],
            env=self._environment(results or self._root),
            cwd=self._folder,
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stderr == ""
        return [line for line in done.stdout.splitlines() if line]

    def asked(self, variables: dict[str, str]) -> str:
        """What the program says to a script that sets these variables."""
        return subprocess.run(
            [self._folder / "gfjobs"],
            env=self._environment("/nowhere") | variables,
            capture_output=True,
            text=True,
            check=True,
        ).stdout

    def typed(self, keys: str) -> str:
        """What a terminal shows when these keys have been pressed, of which the last end bash."""
        ours, its = pty.openpty()
        keys = f"PS1=; bind 'set enable-bracketed-paste off'; source ./gfjobs.bash\n{keys}"
        with subprocess.Popen(
            ["bash", "--norc", "--noprofile", "-i"],
            env=self._environment("/nowhere") | {"TERM": "dumb", "COLUMNS": "1000"},
            cwd=self._folder,
            stdin=its,
            stdout=its,
            stderr=its,
            start_new_session=True,
        ) as bash:
            os.close(its)
            os.write(ours, keys.encode())
            shown = b""
            with contextlib.suppress(OSError):  # EIO: bash has closed its end
                while part := os.read(ours, 4096):
                    shown += part
            os.close(ours)
            assert bash.wait(60) == 0
        return shown.decode()

    def _environment(self, results: Path | str) -> dict[str, str]:
        told = {"PATH": f"{self._folder}:{os.environ['PATH']}", "PYTHONPATH": str(PROJECT)}
        return dict(os.environ) | told | {"GFJOBS_RESULTS": str(results)}


@pytest.fixture(scope="module")
def tab(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Tab:
    """A bash with the script that `gfjobs completion bash` prints."""
    folder = tmp_path_factory.mktemp("bin")
    program = folder / "gfjobs"
    program.write_text(f"#!{sys.executable}\nfrom jobs.cli import main\n\nmain()\n")
    program.chmod(0o755)
    script = CliRunner().invoke(main, ["completion", "bash"]).stdout
    (folder / "gfjobs.bash").write_text(script)
    return Tab(folder, root)


def test_schedules_are_offered_and_no_ledger_is_made(tab: Tab, tmp_path: Path) -> None:
    """Of the ledger that the words or the environment name."""
    path = tmp_path / "nights.sqlite"
    assert tab("schedule", "run", "--ledger", str(path), "") == []
    assert not path.exists()
    with contextlib.closing(Ledger(path)) as ledger:
        for name in ("nightly", "weekly"):
            ledger.save_schedule(Entry(name, "", "s.yaml", "results", datetime.now(timezone.utc)))
    assert tab("schedule", "run", "--ledger", str(path), "") == ["nightly", "weekly"]
    assert tab("schedule", "remove", "--ledger", str(path), "w") == ["weekly"]


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (("sum",), ["summary"]),
        (("node", ""), ["start", "stop"]),
        (("summary", "--pro"), ["--profile"]),
        (("status", ""), ["latest", "first", "second"]),
        (("compare", "first", "s"), ["second"]),
        (("fsck", "first", "l"), ["latest"]),
        (("judge", "--baseline", "f"), ["first"]),
        (("choose", "first", "--model", ""), ["dynn", "one"]),
        (("choose", "latest", "--model", ""), ["dynn", "flat", "one"]),
        (("choose", "--dataset", ""), ["digits"]),
        (("sql", "--format", "p"), ["parquet"]),
        (("status", "--results", ""), ["compopt -o dirnames"]),
        (("submit", ""), ["compopt -o default"]),
        (("eval", "digits-d"), ["digits-distil", "digits-dynn"]),
        (("eval", "models/x"), ["compopt -o default"]),
        (("eval", "x", "--data", "cifar"), ["cifar10", "cifar100"]),
        (("eval", "x", "--data", "./"), ["compopt -o default"]),
    ],
)
def test_bash_offers(words: tuple[str, ...], offered: list[str], tab: Tab) -> None:
    """Commands, options, values, runs of the results root, and what these runs have."""
    assert sorted(tab(*words)) == sorted(offered)


def test_the_root_on_the_command_line_is_the_one_that_is_read(root: Path, tab: Tab) -> None:
    """And not the one of the environment; a URL, which bash cuts at its colon, is one word."""
    for words in (("--results", str(root)), (f"--results={root}",), (f"--results='{root}'",)):
        assert tab("status", *words, "f", results="/nowhere") == ["first"]
    assert tab("status", "--results=s3://bucket/prefix", "") == ["latest"]
    assert tab("sql", "--format=p") == ["parquet"]
    assert tab("status", f"--results={root}") == ["compopt -o dirnames"]


@pytest.mark.parametrize(("shell", "begun"), [("zsh", "3"), ("fish", "f")])
def test_other_shells_tell_of_a_root_with_an_equals_sign(
    shell: str, begun: str, root: Path, tab: Tab
) -> None:
    """By the variables that their scripts set: they leave such a word whole."""
    words = {"COMP_WORDS": f"gfjobs status --results={root} f", "COMP_CWORD": begun}
    offered = tab.asked({"_GFJOBS_COMPLETE": f"{shell}_complete"} | words)
    assert offered in ("plain,first\n", "plain\nfirst\n_\n")


def test_a_tab_in_a_real_bash(root: Path, tab: Tab) -> None:
    """At its prompt, where bash itself cuts the line into words, at each `=` and `:` too."""
    typed = f"gfjobs status --results={root} fi\t\x01echo \nexit\n"
    assert f"gfjobs status --results={root} first" in tab.typed(typed).splitlines()


@pytest.mark.parametrize("results", ["/nowhere", "s3://bucket/prefix", "ftp://host"])
def test_where_nothing_can_be_read_there_is_no_word_of_it(results: str, tab: Tab) -> None:
    """No message breaks the line that somebody is typing; a network is not asked."""
    assert tab("status", "", results=results) == ["latest"]


def test_names_of_strangers_are_not_run_by_the_shell(root: Path, tab: Tab) -> None:
    """What would need quoting is not offered."""
    assert "$(two) *" in storage.read_submission(root, "second")["meanings"]
    assert tab("choose", "second", "--model", "") == ["flat"]


def test_a_tab_loads_nothing_heavy(root: Path) -> None:
    """Neither torch, ray, duckdb nor Arrow, also where it reads what runs have."""
    code = (
        "import sys\n"
        "from jobs.cli import main\n"
        "try: main(prog_name='gfjobs')\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'ray', 'duckdb', 'pyarrow', 'numpy', 'yaml'} & set(sys.modules)\n"
        "sys.exit(f'loaded {heavy}' if heavy else 0)"
    )
    told = {
        "_GFJOBS_COMPLETE": "bash_complete",
        "COMP_LINE": "gfjobs choose first --model ",
        "GFJOBS_RESULTS": str(root),
    }
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | told,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["plain,dynn", "plain,one"]


@pytest.mark.parametrize("shell", SHELLS)
def test_scripts_are_what_their_shell_can_read(shell: str) -> None:
    """Where the shell is there, it finds no fault with the script."""
    script = CliRunner().invoke(main, ["completion", shell]).stdout
    assert "_GFJOBS_COMPLETE" in script
    if shutil.which(shell):
        options = ["--no-execute"] if shell == "fish" else ["-n"]
        done = subprocess.run(
            [shell, *options], input=script, capture_output=True, text=True, check=False
        )
        assert (done.returncode, done.stderr) == (0, "")
