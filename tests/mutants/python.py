"""Mutants of one module by mutmut, in a copy of the tree that is gone afterwards."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from mutmut.mutation.diff_apply import get_diff_for_mutant

from tests.mutants.modules import Own

TREE = Path(__file__).parents[2]
_COPIED = ("gfnet", "jobs", "storage", "tests", "docs", "examples", "pyproject.toml")
_KILLED = (1, 3)  # of pytest: a test failed; pytest itself did
_UNDECIDED = (None, 2, 255)  # mutmut was interrupted, or its worker failed, not a test
_TRIES = 3
_SPINNER = tuple("⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏")
_TIMED_OUT = (-24, -9, 24, 36, 152)  # SIGXCPU, or the SIGKILL a second after it

_PYTEST = [
    *("-p", "no:cacheprovider", "-p", "no:unraisableexception"),
    *("-p", "tests.mutants.preloaded", "-o", "tmp_path_retention_policy=none"),
]

# Workers are forked from a process that has imported the tests and has run none: torch, pyarrow and
# DuckDB start threads, which a fork would not have. Unraisable exceptions are not waited for: each
# worker would look through all of torch for them, which takes it longer than most tests.
_SETTINGS = """
[tool.mutmut]
source_paths = ["gfnet", "jobs", "storage"]
also_copy = ["docs", "examples"]
debug = true
only_mutate = [{module}]
pytest_add_cli_args_test_selection = [{tests}]
pytest_add_cli_args = {arguments}
process_isolation = "forkserver"
timeout_multiplier = 10
timeout_constant = 3
track_dependencies = false
use_git_change_detection = false
"""


@dataclass(frozen=True)
class Mutated:
    """What became of the mutants of a module.

    Attributes:
        module: its path.
        mutants: how many there are.
        timed_out: how many ran until their time was up, which kills them.
        survivors: those that no test told from the original, as `changes` writes them.
    """

    module: str
    mutants: int
    timed_out: int
    survivors: tuple[str, ...]

    @property
    def killed(self) -> int:
        """How many a test told from the original, or time."""
        return self.mutants - len(self.survivors)

    @property
    def killed_percent(self) -> float:
        """Of all mutants; a module without any has none left."""
        return 100 * self.killed / self.mutants if self.mutants else 100.0


class MutmutError(Exception):
    """mutmut ended without a result; its output is the message."""


def mutate(module: str, own: Own, workers: int) -> Mutated:
    """Run a module's own tests against every mutant of it.

    Raises:
        MutmutError: where the tests fail without a mutant, or mutmut does.
    """
    with tempfile.TemporaryDirectory(prefix="gfjobs-mutants-") as name:
        folder = Path(name)
        _copy_tree(folder / "tree")
        _add_settings(folder / "tree", module, own)
        left: list[str] = []
        for _ in range(_TRIES):
            _run(folder, workers, left)
            codes = _codes(folder, module)
            left = [name for name, code in codes.items() if _is_undecided(folder, name, code)]
            if not left:
                break
        else:
            raise MutmutError(f"{module}: of {left[0]}, among others, mutmut has no result")
        with _working_directory(folder / "tree"):  # where mutmut looks for its own files
            return Mutated(
                module,
                len(codes),
                sum(code in _TIMED_OUT for code in codes.values()),
                tuple(_changes(name, module) for name, code in codes.items() if _survived(code)),
            )


def _copy_tree(to: Path) -> None:
    to.mkdir()
    for name in _COPIED:
        if (TREE / name).is_dir():
            shutil.copytree(TREE / name, to / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy2(TREE / name, to / name)


def _add_settings(tree: Path, module: str, own: Own) -> None:
    arguments = [*_PYTEST, *([] if own.has_fixtures else ["--noconftest"])]
    settings = _SETTINGS.format(
        module=json.dumps(module), tests=json.dumps(own.tests), arguments=json.dumps(arguments)
    )
    with (tree / "pyproject.toml").open("a") as file:
        file.write(settings)


def _run(folder: Path, workers: int, mutants: Sequence[str]) -> None:
    """Run all mutants, or some by mutmut's names."""
    for name in ("tmp", "killers"):
        (folder / name).mkdir(exist_ok=True)
    environment = {
        **{key: value for key, value in os.environ.items() if key != "PYTHONPATH"},
        "OMP_NUM_THREADS": "1",
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        "TMPDIR": str(folder / "tmp"),
        "GFJOBS_KILLERS": str(folder / "killers"),
    }
    command = Path(sys.executable).with_name("mutmut")
    done = subprocess.run(
        [command, "run", "--max-children", str(workers), *mutants],
        cwd=folder / "tree",
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode:
        lines = [line for line in done.stdout.splitlines() if not line.startswith(_SPINNER)]
        raise MutmutError("\n".join(lines[-60:]))


def _codes(folder: Path, module: str) -> dict[str, int | None]:
    """The exit code of each mutant's tests, by mutmut's name of it."""
    found = json.loads((folder / "tree" / "mutants" / f"{module}.meta").read_text())
    codes: dict[str, int | None] = found["exit_code_by_key"]
    return codes


def _is_undecided(folder: Path, name: str, code: int | None) -> bool:
    """Whether mutmut was interrupted, or its worker failed and not a test.

    Files of killers tell that apart: mutmut calls a mutant killed as well where a process that was
    to run its tests ended with an error of its own.
    """
    return code in _UNDECIDED or (code in _KILLED and not (folder / "killers" / name).exists())


def _survived(code: int | None) -> bool:
    return code not in _KILLED and code not in _TIMED_OUT and (code or 0) >= 0


def _changes(name: str, module: str) -> str:
    """Write a mutant as its function, the lines that it replaces and those it puts there.

    mutmut's own names are numbers, which change with every line of a function.
    """
    lines = get_diff_for_mutant(name, path=module).splitlines()[2:]
    was, becomes = (
        " ".join(line[1:].strip() for line in lines if line.startswith(sign)) for sign in "-+"
    )
    function = name.rpartition(".")[2].partition("__mutmut_")[0]
    return f"{function.removeprefix('x_').strip('xǁ').replace('ǁ', '.')}: {was} -> {becomes}"


@contextlib.contextmanager
def _working_directory(folder: Path) -> Iterator[None]:
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)
