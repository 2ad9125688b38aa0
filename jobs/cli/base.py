"""What all commands share: the group that turns errors into exit codes, and common options."""

from __future__ import annotations

import logging
import os
import shlex
import shutil
import sys
from pathlib import Path
from typing import Any

import click

from jobs.cli.hints import folder_hints, run_hints
from jobs.common.errors import BadInputError, JobsError, RunInterruptedError, UsageError
from jobs.common.text import escape_controls, fold, parse_whole_number
from storage import Root

FAILED, BAD_INPUT, REGRESSION = 1, 2, 3

SHORT_HELP = 64
"""Columns of a command's line in the help, beside its name."""

ROOT_AS_GIVEN = "gfjobs.results"
"""Where a command's context has the results root as it was written."""


def _root(context: click.Context, _option: click.Parameter, value: str) -> Root:
    """The results root in full; a URL must not become the folder that it looks like."""
    import storage

    context.meta[ROOT_AS_GIVEN] = value
    try:
        return storage.checked_root(value)
    except storage.StorageError as err:
        raise click.BadParameter(str(err)) from err


_UNITS_S = {"s": 1.0, "m": 60.0, "h": 3600.0}
MAX_WAIT_H = 8784
"""A year; a thread cannot wait longer than some hundred of them."""


def _seconds(_context: click.Context, _option: click.Parameter, value: str) -> float:
    """A duration such as 90s, 10m or 2h, in seconds."""
    number, unit = value[:-1], value[-1:]
    count = parse_whole_number(number, MAX_WAIT_H * 3600)
    if count is None or unit not in _UNITS_S or count * _UNITS_S[unit] > MAX_WAIT_H * 3600:
        raise click.BadParameter(
            f"{value!r}; give a whole number and a unit, such as 90s, 10m or 2h, at most"
            f" {MAX_WAIT_H}h"
        )
    return count * _UNITS_S[unit]


RESULTS = click.option(
    "--results",
    callback=_root,
    shell_complete=folder_hints,
    envvar="GFJOBS_RESULTS",
    default="results",
    show_default="results, or $GFJOBS_RESULTS",
    help="The results root.",
)
ADDRESS = click.option("--address", help="A Ray cluster that runs already, such as 10.0.0.1:6379.")
INLINE = click.option("--inline", is_flag=True, help="Run in this process, without Ray.")
WAIT = click.option(
    "--wait",
    "wait_s",
    callback=_seconds,
    default="10m",
    show_default=True,
    help="How long cells wait for a device that no node has, such as 90s, 10m or 2h.",
)
STALL = click.option(
    "--stall",
    "stall_s",
    callback=_seconds,
    default="10m",
    show_default=True,
    help="How long a task may finish no batch before it is ended and tried again.",
)
ALL = click.option(
    "--all", "is_all", is_flag=True, help="In a terminal too, all rows of long tables."
)
RUN = click.argument("run", shell_complete=run_hints)
RUN_OR_LATEST = click.argument("run", default="latest", shell_complete=run_hints)


COMMANDS = {
    "Run": ("plan", "submit", "resume", "cancel", "watch", "runs", "rm"),
    "Results": ("status", "summary", "report", "sql"),
    "Models": ("models", "import", "train"),
    "Thresholds": ("curve", "choose", "certify"),
    "Compare": ("compare", "judge"),
    "Nodes": ("node", "nodes", "doctor", "power"),
    "Nights": ("schedule", "scheduler"),
    "Maintenance": ("compact", "fsck", "completion"),
}
"""The commands by what they are for, as the help lists them."""


class Group(click.Group):
    """Turns the errors of all packages into messages and exit codes, in one place."""

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands by what they are for."""
        for title, names in COMMANDS.items():
            with formatter.section(title):
                rows = [
                    (name, command.get_short_help_str(SHORT_HELP))
                    for name in names
                    if (command := self.get_command(ctx, name))
                ]
                formatter.write_dl(rows)

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command."""
        import gfnet
        import storage

        logging.getLogger("storage").addHandler(_StorageWarnings(ctx))
        try:
            return super().invoke(ctx)
        except RunInterruptedError as err:
            verb = "cancelled" if err.is_cancelled else "interrupted"
            narrate(
                f"run {err.run_id} was {verb}; what is committed is kept. Go on with:\n"
                f"  {program()} resume {err.run_id}{root_option()}"
            )
            ctx.exit(FAILED)
        except KeyboardInterrupt:
            narrate("interrupted")
            ctx.exit(FAILED)
        except (BadInputError, UsageError, storage.StorageError, gfnet.CheckpointError) as err:
            narrate(f"gfjobs: {err}")
            ctx.exit(BAD_INPUT)
        except JobsError as err:
            narrate(f"gfjobs: {err}")
            ctx.exit(FAILED)


class _StorageWarnings(logging.Handler):
    """Says what storage warns of, such as a damaged run that is left out: once a command."""

    def __init__(self, ctx: click.Context) -> None:
        super().__init__(logging.WARNING)
        self._said: set[str] = set()
        ctx.call_on_close(lambda: logging.getLogger("storage").removeHandler(self))

    def emit(self, record: logging.LogRecord) -> None:
        """Say it."""
        text = record.getMessage()
        if text not in self._said:
            self._said.add(text)
            narrate(text)


def root_option() -> str:
    """What a command that the user may copy needs to find the same results root."""
    given = [word for word in sys.argv if word.startswith("--results")]
    if not given:
        return ""
    value = given[0].partition("=")[2] or sys.argv[sys.argv.index(given[0]) + 1]
    return f" --results {shlex.quote(value)}"


def program() -> str:
    """How the user can call this program again: by name, or by path where it is not on PATH."""
    called = Path(sys.argv[0])
    if called.name != "gfjobs" or shutil.which("gfjobs"):
        return "gfjobs"
    return shlex.quote(os.path.relpath(called))


def narrate(text: str) -> None:
    """Say something to the user, beside the rows; a terminal gets lines that fit it."""
    text = escape_controls(text)
    if sys.stderr.isatty():
        text = fitted(text, shutil.get_terminal_size().columns)
    click.echo(text, err=True)


def show(text: str) -> None:
    """Give the user text that was asked for, whole lines."""
    click.echo(escape_controls(text), nl=False)


def fitted(text: str, width: int) -> str:
    """Break lines that are wider at the ends of words, never inside a path or a name.

    A line that begins with two spaces is a command to copy, and stays whole.
    """
    lines: list[str] = []
    for line in text.splitlines():
        indent = line[: len(line) - len(line.lstrip())]
        if len(line) <= width or indent == "  ":
            lines.append(line)
            continue
        lines.append(fold(line, width, indent=indent or "  "))
    return "\n".join(lines)


@click.group(cls=Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="gfjobs")
def main() -> None:
    """Evaluate early-exit Global Filter Networks: what each threshold costs.

    \b
    Start with
      gfjobs submit examples/quickstart.yaml
      gfjobs summary latest
    """
