"""Completion, as a real bash does it with the script that `gfjobs completion bash` prints."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
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
Tab = Callable[..., list[str]]

_PRESS = """
source "./gfjobs.bash"
COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMPREPLY=()
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


@pytest.fixture(scope="module")
def tab(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Tab:
    """What bash offers after these words, the last of which is begun."""
    folder = tmp_path_factory.mktemp("bin")
    program = folder / "gfjobs"
    program.write_text(f"#!{sys.executable}\nfrom jobs.cli import main\n\nmain()\n")
    program.chmod(0o755)
    script = CliRunner().invoke(main, ["completion", "bash"]).stdout
    (folder / "gfjobs.bash").write_text(script)
    kept = {name: text for name, text in os.environ.items() if name != "GFJOBS_RESULTS"}

    def press(*words: str, results: Path | str = root) -> list[str]:
        path = f"{folder}:{kept['PATH']}"
        told = {"PATH": path, "PYTHONPATH": str(PROJECT), "GFJOBS_RESULTS": str(results)}
        done = subprocess.run(
            ["bash", "--norc", "-c", _PRESS, "bash", "gfjobs", *words],
            env=kept | told,
            cwd=folder,
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stderr == ""
        return [line for line in done.stdout.splitlines() if line]

    return press


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
    ],
)
def test_bash_offers(words: tuple[str, ...], offered: list[str], tab: Tab) -> None:
    """Commands, options, values, runs of the results root, and what these runs have."""
    assert sorted(tab(*words)) == sorted(offered)


def test_the_root_on_the_command_line_is_the_one_that_is_read(root: Path, tab: Tab) -> None:
    """And not the one of the environment."""
    assert tab("status", "--results", str(root), "f", results="/nowhere") == ["first"]


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
        "COMP_WORDS": "gfjobs choose first --model ",
        "COMP_CWORD": "4",
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
