"""The documentation is run as it stands: each command of each page, in the order of the page.

A `gfjobs` that needs nothing of a shell is forked from a process that has loaded torch already.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from .commands import Command

REPOSITORY = Path(__file__).parents[2]
PAGES = ["README.md", *(f"docs/{page.name}" for page in sorted(REPOSITORY.glob("docs/*.md")))]
GOING_ON = (
    ("docs/data.md", "docs/training.md", "docs/bundles.md"),
    ("docs/thresholds.md", "docs/report.md", "docs/site.md", "README.md", "docs/start.md"),
    (
        *("docs/grids.md", "docs/diagnostics.md", "docs/results.md"),
        *("docs/faults.md", "docs/latency.md", "docs/history.md"),
    ),
)
"""Pages that begin with the same run or the same images, as somebody has them who reads on."""

REASONS = ("docs/README.md", "docs/decisions.md", "docs/glossary.md")
"""Pages without commands."""

ALONE = [page for page in PAGES if page not in sum(GOING_ON, REASONS)]
CHAPTERS = (*GOING_ON, *((page,) for page in ALONE))

BLOCK = re.compile(r"(<!-- not run: [^\n]* -->\n)?```sh\n(.*?)```", re.DOTALL)
HOUR_S = 3600.0
"""No command of the documentation takes as long."""

SET_UP = ("make test", "make integration")  # running these tests is running that


def commands(page: str) -> list[str]:
    """The commands of a page that can be run here."""
    text = (REPOSITORY / page).read_text()
    lines = [line for skip, block in BLOCK.findall(text) if not skip for line in block.splitlines()]
    found = [re.sub(r"\s+#.*", "", line) for line in lines]
    return [command for command in found if command and command not in SET_UP]


def runnable(command: str) -> str:
    """`make` with this environment in the place of .venv, which is the same installation."""
    tools = Path(sys.executable).parent
    return command.replace("make ", f"make --assume-old=.venv/installed BIN={tools} ", 1)


def run(command: str, environment: dict[str, str]) -> tuple[int, str, str]:
    """Run it from the repository's folder: exit code, what it said on stdout, and on stderr."""
    outside_of_quotes = re.sub(r"""'[^']*'|"[^"$`\\]*\"""", "", command)
    if command.startswith("gfjobs ") and not re.search(r"[|&;<>$`\\]", outside_of_quotes):
        return Command(*shlex.split(command)[1:], environment=environment).outcome(HOUR_S)
    done = subprocess.run(
        ["bash", "-c", runnable(command)],
        cwd=REPOSITORY,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


WIDE = ("sql", "engines")
"""A pipe gets all columns: those of a query, and of a ladder in which three axes vary. A terminal
leaves some out (tests/jobs/report/terminal/test_views.py)."""


@pytest.mark.parametrize("chapter", CHAPTERS, ids=lambda pages: pages[0])
def test_commands_run_as_written(chapter: tuple[str, ...], tmp_path: Path) -> None:
    """In order, from the repository's folder, with a results root of their own."""
    tools = Path(sys.executable).parent
    environment = {
        "GFJOBS_RESULTS": str(tmp_path / "results"),
        "GFJOBS_LEDGER": str(tmp_path / "nights.sqlite"),
        "PATH": f"{tools}{os.pathsep}{os.environ['PATH']}",
    }
    assert all(map(commands, chapter))
    for command in (command for page in chapter for command in commands(page)):
        code, out, err = run(command, environment)
        assert code == 0, f"{command}\n{out}{err}"
        wide = [line for line in out.splitlines() if len(line) > 80]
        if not any(part in command for part in WIDE):
            assert not wide, f"{command} is wider than 80 columns: {wide[0]}"


OTHER_PAGES = (
    *("ARCHITECTURE.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md"),
    *("gfnet/zoo/README.md", "storage/datasets/README.md"),
)


def test_links_lead_somewhere() -> None:
    """Every relative link of every page."""
    for page in [*PAGES, *OTHER_PAGES]:
        path = REPOSITORY / page
        for target in re.findall(r"\]\((?!https?:)([^)#]+)", path.read_text()):
            assert (path.parent / target).exists(), f"{page} links to {target}"


def test_paths_in_the_architecture_are_there() -> None:
    """Packages and files by the names that they have today."""
    text = (REPOSITORY / "ARCHITECTURE.md").read_text()
    paths = re.findall(r"`((?:gfnet|jobs|storage|tests|docs)/[\w./]+)`", text)
    assert len(paths) > 50
    names = {"storage/queries/QUESTION/NAME.sql", "docs/NAME.md"}
    assert {path for path in paths if not (REPOSITORY / path).exists()} == names


def test_the_grid_of_the_docs_is_the_one_that_is_run() -> None:
    """docs/grids.md shows docs/grid.yaml."""
    (shown, _) = re.findall(
        r"```yaml\n(.*?)```", (REPOSITORY / "docs/grids.md").read_text(), re.DOTALL
    )
    assert shown == (REPOSITORY / "docs/grid.yaml").read_text()


def test_the_schedule_of_the_docs_is_the_example() -> None:
    """docs/nightly.md shows examples/nightly.yaml, without what it says of itself."""
    (shown, _) = re.findall(
        r"```yaml\n(.*?)```", (REPOSITORY / "docs/nightly.md").read_text(), re.DOTALL
    )
    example = (REPOSITORY / "examples/nightly.yaml").read_text()
    assert shown == "".join(
        line for line in example.splitlines(keepends=True) if not line.startswith("#")
    )
