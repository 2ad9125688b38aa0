"""Shared by all commands: common options, and the group that turns errors into exit codes."""

from __future__ import annotations

import logging
import os
import shlex
import shutil
import sys
from functools import partial
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from jobs.cli.hints import folder_hints, run_hints
from jobs.cli.streams import output_error, prepare_streams
from jobs.common.errors import BadInputError, JobsError, RunInterruptedError, UsageError
from jobs.common.text import escape_controls, fold, parse_whole_number
from storage import Root

FAILED, BAD_INPUT, REGRESSION = 1, 2, 3

SHORT_HELP = 64
"""Columns of a command's short help, next to its name."""

ROOT_AS_GIVEN = "gfjobs.results"
"""Key in the context's `meta` of the results root as the user wrote it."""


def _root(context: click.Context, option: click.Parameter, value: str) -> Root:
    """Return the results root in full; a URL must not become a folder of the same name."""
    import storage

    context.meta[ROOT_AS_GIVEN] = value
    try:
        return storage.checked_root(value)
    except storage.StorageError as err:
        source = context.get_parameter_source("results")
        named = f"${option.envvar}" if source is ParameterSource.ENVIRONMENT else None
        raise click.BadParameter(str(err), param_hint=named) from err


_UNITS_S = {"s": 1.0, "m": 60.0, "h": 3600.0}
MAX_WAIT_H = 8784
"""A year; a thread cannot wait longer than a few hundred years."""


def _seconds(_context: click.Context, _option: click.Parameter, value: str) -> float:
    """Parse a duration such as 90s, 10m or 2h into seconds."""
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
ADDRESS = click.option("--address", help="Address of a running Ray cluster, such as 10.0.0.1:6379.")
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
    help="Restart a task that completes no batch for this long.",
)
ALL = click.option(
    "--all", "is_all", is_flag=True, help="Show all rows of long tables in a terminal, too."
)
RUN_NAME = click.option(
    "--run",
    "run_id",
    shell_complete=run_hints,
    help="Name of the run; an existing run of that name is resumed.",
)
RUN = click.argument("run", shell_complete=run_hints)
RUN_OR_LATEST = click.argument("run", default="latest", shell_complete=run_hints)


COMMANDS = {
    "Run": ("eval", "plan", "submit", "resume", "cancel", "watch", "runs", "rm"),
    "Results": ("status", "summary", "report", "site", "sql", "schema"),
    "Models": ("models", "import", "export", "train"),
    "Thresholds": ("curve", "choose", "certify"),
    "Compare": ("compare", "judge"),
    "Nodes": ("node", "nodes", "doctor", "power"),
    "Nights": ("schedule", "scheduler"),
    "Maintenance": ("compact", "fsck", "completion"),
}
"""The commands by purpose, in the order of the help."""


class Group(click.Group):
    """Turns the errors of all packages into messages and exit codes."""

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands by purpose."""
        for title, names in COMMANDS.items():
            with formatter.section(title):
                rows = [
                    (name, command.get_short_help_str(SHORT_HELP))
                    for name in names
                    if (command := self.get_command(ctx, name))
                ]
                formatter.write_dl(rows)

    def __call__(self, *args: Any, **settings: Any) -> Any:
        """Run the command line in a process of its own, where pyarrow does without pandas."""
        import storage

        sys.meta_path.insert(0, storage.HiddenPandas())
        return super().__call__(*args, **settings)

    def main(self, *args: Any, **settings: Any) -> Any:
        """Run the command line, whatever its streams and its working directory are."""
        prepare_streams()
        try:
            Path.cwd()
        except OSError as err:
            narrate(f"gfjobs: the working directory cannot be used: {err.strerror}; cd to another")
            sys.exit(BAD_INPUT)
        return super().main(*args, **settings)

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command."""
        import gfnet
        import storage

        _keep_to_own_messages(ctx)
        try:
            return super().invoke(ctx)
        except RunInterruptedError as err:
            verb = "cancelled" if err.is_cancelled else "interrupted"
            narrate(
                f"run {err.run_id} was {verb}; committed rows are kept. Resume it with:\n"
                f"  {program()} resume {err.run_id}{root_option()}"
            )
            ctx.exit(FAILED)
        except KeyboardInterrupt:
            narrate("interrupted")
            ctx.exit(FAILED)
        except (
            *(BadInputError, UsageError, storage.StorageError),
            *(gfnet.CheckpointError, gfnet.BundleError),
        ) as err:
            narrate(f"gfjobs: {err}")
            ctx.exit(BAD_INPUT)
        except JobsError as err:
            narrate(f"gfjobs: {err}")
            ctx.exit(FAILED)


_OWN_LOGGERS = ("storage", "jobs")


def _keep_to_own_messages(ctx: click.Context) -> None:
    """Show warnings of our packages as messages, and none of other libraries.

    `python -W` or PYTHONWARNINGS, and TORCH_LOGS, show theirs as ever.
    """
    own, others = _OwnWarnings(), logging.NullHandler()
    names = dict.fromkeys(_OWN_LOGGERS, own) | {"": others}  # without any, Python prints all
    for name, handler in names.items():
        logging.getLogger(name).addHandler(handler)
        ctx.call_on_close(partial(logging.getLogger(name).removeHandler, handler))
    if not sys.warnoptions:
        logging.captureWarnings(True)
        ctx.call_on_close(partial(logging.captureWarnings, False))
    os.environ.setdefault("TORCH_LOGS", "-all")  # errors alone


class _OwnWarnings(logging.Handler):
    """Shows each warning, such as of a damaged run that is left out, once per command."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._said: set[str] = set()

    def emit(self, record: logging.LogRecord) -> None:
        """Show a warning that was not shown before."""
        text = record.getMessage()
        if text not in self._said:
            self._said.add(text)
            narrate(text)


def root_option() -> str:
    """Return the option that a command to copy needs to find the same results root."""
    given = [word for word in sys.argv if word.startswith("--results")]
    if not given:
        return ""
    value = given[0].partition("=")[2] or sys.argv[sys.argv.index(given[0]) + 1]
    return f" --results {shlex.quote(value)}"


def program() -> str:
    """Return how the user can call this program: by name, or by path if it is not on PATH."""
    called = Path(sys.argv[0])
    if called.name != "gfjobs" or shutil.which("gfjobs"):
        return "gfjobs"
    return shlex.quote(os.path.relpath(called))


def narrate(text: str) -> None:
    """Print a message to stderr; in a terminal its lines are fitted to the width."""
    text = escape_controls(text)
    if sys.stderr.isatty():
        text = fitted(text, shutil.get_terminal_size().columns)
    click.echo(text, err=True)


def narrate_written(path: Path) -> None:
    """Print a message to stderr: which file was written, and its size."""
    size_bytes = path.stat().st_size
    size = f"{size_bytes / 1e6:.1f} MB" if size_bytes >= 1e6 else f"{size_bytes / 1e3:.1f} kB"  # noqa: PLR2004
    narrate(f"wrote {path} ({size})")


def show(text: str | bytes) -> None:
    """Print what was requested to stdout: text in whole lines, or encoded rows as they are.

    Raises:
        JobsError: it cannot be written.
    """
    try:
        click.echo(text if isinstance(text, bytes) else escape_controls(text), nl=False)
    except OSError as err:
        raise output_error(err) from err


def fitted(text: str, width: int) -> str:
    """Break lines wider than `width` between words, never inside a path or a name.

    A line that begins with two spaces is a command to copy, and is not broken.
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
