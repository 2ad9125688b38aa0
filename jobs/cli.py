"""The command line: options in, exit codes out. The only module that knows click.

Rows go to stdout, narration and progress to stderr. Exit codes: 0 done, 1 work failed, 2 usage or
bad input.
"""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from jobs.errors import BadInputError, JobsError, RunInterruptedError, UsageError

FAILED, BAD_INPUT = 1, 2

SHOWN_ROWS = 1000
"""Rows that a table for people shows; the other formats give all."""


def _root(_context: click.Context, _option: click.Parameter, value: str) -> Path:
    """The results root; a URL must not become the folder that it looks like."""
    import storage

    try:
        return storage.local_root(value)
    except storage.StorageError as err:
        raise click.BadParameter(str(err)) from err


RESULTS = click.option(
    "--results",
    callback=_root,
    envvar="GFJOBS_RESULTS",
    default="results",
    show_default="results, or $GFJOBS_RESULTS",
    help="The results root.",
)
ADDRESS = click.option("--address", help="A Ray cluster that runs already, such as 10.0.0.1:6379.")
INLINE = click.option("--inline", is_flag=True, help="Run in this process, without Ray.")
RUN = click.argument("run")
RUN_OR_LATEST = click.argument("run", default="latest")


def _numbers(separator: str, kind: type, count: int | None = None) -> Callable[..., Any]:
    """Read an option such as 7,9,10 or 43x6; one that is not given stays None."""

    def read(_context: click.Context, _option: click.Parameter, value: str | None) -> Any:
        if value is None:
            return None
        try:
            numbers = tuple(kind(part) for part in value.split(separator))
        except ValueError:
            numbers = ()
        if not numbers or count not in (None, len(numbers)):
            what = "whole numbers" if kind is int else "numbers"
            shape = f"{count or 'some'} {what}, separated by {separator!r}"
            raise click.BadParameter(f"{value!r}; give {shape}")
        return numbers

    return read


class Group(click.Group):
    """Turns the errors of all packages into messages and exit codes, in one place."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command."""
        import gfnet
        import storage

        try:
            return super().invoke(ctx)
        except RunInterruptedError as err:
            narrate(
                f"run {err.run_id} was interrupted; what is committed is kept. Go on with:\n"
                f"  {_program()} resume {err.run_id}{_root_option()}"
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


def _root_option() -> str:
    """What a command that the user may copy needs to find the same results root."""
    given = [word for word in sys.argv if word.startswith("--results")]
    if not given:
        return ""
    value = given[0].partition("=")[2] or sys.argv[sys.argv.index(given[0]) + 1]
    return f" --results {shlex.quote(value)}"


def _program() -> str:
    """How the user can call this program again: by name, or by path where it is not on PATH."""
    called = Path(sys.argv[0])
    if called.name != "gfjobs" or shutil.which("gfjobs"):
        return "gfjobs"
    return shlex.quote(os.path.relpath(called))


def narrate(text: str) -> None:
    """Say something to the user, beside the rows."""
    click.echo(text, err=True)


@click.group(cls=Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="gfjobs")
def main() -> None:
    """Evaluate early-exit Global Filter Networks: what each threshold costs.

    \b
    Start with
      gfjobs submit examples/quickstart.yaml
      gfjobs summary latest
    """


@main.command()
@click.argument("grid", type=click.Path(path_type=Path))
@click.option("--run", "run_id", help="Name of the run; an unfinished one of it is resumed.")
@RESULTS
@ADDRESS
@INLINE
def submit(
    grid: Path, run_id: str | None, results: Path, address: str | None, *, inline: bool
) -> None:
    """Run all cells of GRID, a YAML file.

    \b
    Example:
      gfjobs submit examples/quickstart.yaml --run first
    """
    from jobs.run import Where
    from jobs.run import submit as submit_grid

    ended = submit_grid(grid, results, Where(address, inline), narrate, run_id)
    _conclude(ended.run_id, results, is_done=ended.is_done)


@main.command()
@RUN
@RESULTS
@ADDRESS
@INLINE
def resume(run: str, results: Path, address: str | None, *, inline: bool) -> None:
    """Run what is missing of RUN.

    \b
    Example:
      gfjobs resume latest
    """
    import storage
    from jobs.run import Where
    from jobs.run import resume as resume_run

    run_id = storage.resolve_run(results, run)
    ended = resume_run(results, run_id, Where(address, inline), narrate)
    _conclude(run_id, results, is_done=ended.is_done)


def _conclude(run_id: str, results: Path, *, is_done: bool) -> None:
    """Show what a run gave, where it lies, and what to try next."""
    from jobs import summary

    click.echo(summary.ladder(results, run_id))
    if histogram := summary.exit_histogram(results, run_id):
        click.echo(histogram)
    root = _root_option()
    narrate(f"rows: {results}/runs/{run_id} (Parquet)")
    if not is_done:
        narrate(summary.status(results, run_id))
        sys.exit(FAILED)
    narrate("next, try:")
    query = "select model, acc1, forward_ms, exit_counts from ladder"
    narrate(f'  {_program()} sql "{query}"{root}')
    narrate(f"  {_program()} status {run_id}{root}")


@main.command()
@click.argument("grid", type=click.Path(path_type=Path))
@RESULTS
def plan(grid: Path, results: Path) -> None:
    """Show the cells that GRID folds into, and how long they will take. Runs nothing.

    \b
    Example:
      gfjobs plan examples/quickstart.yaml
    """
    from jobs.document import Document
    from jobs.estimate import estimate
    from jobs.plan_view import describe
    from jobs.run import plan_document

    document = Document.read(grid)
    made = plan_document(document, document.path.absolute().parent)
    click.echo(describe(made, estimate(made, results)), nl=False)


@main.command()
@RESULTS
def runs(results: Path) -> None:
    """List the runs, newest first.

    \b
    Example:
      gfjobs runs
    """
    from jobs.summary import runs as runs_of

    click.echo(runs_of(results), nl=False)


@main.command()
@RUN_OR_LATEST
@RESULTS
def status(run: str, results: Path) -> None:
    """Show the cells of RUN (default: the latest): what is done, what failed and why.

    \b
    Example:
      gfjobs status latest
    """
    from jobs.summary import status as status_of

    _show(run, results, status_of)


@main.command()
@RUN_OR_LATEST
@RESULTS
def summary(run: str, results: Path) -> None:
    """Show the ladder of RUN (default: the latest), and where its images exit.

    \b
    Example:
      gfjobs summary latest
    """
    from jobs.summary import exit_histogram, ladder

    _show(run, results, ladder, exit_histogram)


def _show(run: str, results: Path, *views: Callable[[Path, str], str]) -> None:
    import storage

    run_id = storage.resolve_run(results, run)
    parts = [view(results, run_id) for view in views]
    click.echo("\n".join(part for part in parts if part), nl=False)


@main.command()
@click.argument("query")
@click.option(
    "--format",
    "form",
    type=click.Choice(["table", "csv", "json", "parquet", "md"]),
    default="table",
    show_default=True,
)
@RESULTS
def sql(query: str, form: str, results: Path) -> None:
    """Answer QUERY, in DuckDB's SQL, over the tables of all runs.

    \b
    Example:
      gfjobs sql "select model, acc1, forward_ms from ladder"
      gfjobs sql "describe records"
    """
    import storage
    from jobs.tables import markdown_table, result_table

    table = storage.query(results, query)
    if form in ("table", "md"):
        shown = table.slice(0, SHOWN_ROWS) if form == "table" else table
        rows = storage.table_values(shown)
        make = result_table if form == "table" else markdown_table
        click.echo(make(table.column_names, rows), nl=False)
        if len(rows) < table.num_rows:
            narrate(f"{len(rows):,} of {table.num_rows:,} rows; --format csv gives all")
        return
    if form == "parquet" and sys.stdout.isatty():
        raise UsageError("parquet is binary; send it to a file: gfjobs sql ... > rows.parquet")
    click.echo(storage.encode(table, form), nl=False)


@main.command()
@RUN
@RESULTS
def rm(run: str, results: Path) -> None:
    """Delete RUN and its rows.

    \b
    Example:
      gfjobs rm latest
    """
    import storage

    run_id = storage.resolve_run(results, run)
    storage.remove_run(results, run_id)
    narrate(f"removed {run_id}")


@main.command()
def models() -> None:
    """List the bundled checkpoints, which a grid may name.

    \b
    Example:
      gfjobs models
    """
    import gfnet
    from jobs.tables import text_table

    rows = []
    for name, path in gfnet.bundled().items():
        metadata = gfnet.inspect_checkpoint(path).metadata
        config = metadata.config
        rows.append(
            (
                name,
                config.family,
                config.parameters(),
                config.img_size,
                config.depth,
                list(config.exit_blocks) or None,
                config.num_classes,
            )
        )
    columns = ("model", "family", "params", "px", "blocks", "exits", "classes")
    click.echo(text_table(columns, rows), nl=False)


@main.command("import")
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    help="The checkpoint to write; default: checkpoints/NAME.safetensors.",
)
@click.option("--img-size", type=click.IntRange(1), help="Resample it for images of this side.")
@click.option("--filter-grid", callback=_numbers("x", int, 2), help="Of that size, such as 43x6.")
@click.option(
    "--exit-blocks", callback=_numbers(",", int), help="Exits that were trained, such as 7,9,10."
)
@click.option("--classes", help="Class names, such as cat,dog; or a file with one a line.")
@click.option("--resize", type=click.IntRange(1), help="Shorter side before the crop, pixels.")
@click.option("--interpolation", type=click.Choice(["nearest", "bilinear", "bicubic"]))
@click.option("--mean", callback=_numbers(",", float, 3), help="Of red, green, blue in 0..1.")
@click.option("--std", callback=_numbers(",", float, 3), help="Of red, green, blue in 0..1.")
@click.option("--force", is_flag=True, help="Replace an output that is there.")
def import_file(file: Path, output: Path | None, classes: str | None, **wanted: Any) -> None:
    """Turn FILE, a state dict of torch.save or safetensors, into a checkpoint.

    Sizes and grid are told from the shapes, and shown. No code in FILE is run.

    \b
    Example:
      gfjobs import gfnet-xs.pth
    """
    from jobs.importing import Importing, import_checkpoint, read_classes
    from jobs.tables import text_table

    output = output or Path("checkpoints") / f"{file.stem}.safetensors"
    imported = import_checkpoint(
        Importing(
            file,
            output,
            img_size=wanted["img_size"],
            filter_grid=wanted["filter_grid"] or (),
            exit_blocks=wanted["exit_blocks"],
            class_names=read_classes(classes) if classes else (),
            resize=wanted["resize"],
            interpolation=wanted["interpolation"],
            mean=wanted["mean"],
            std=wanted["std"],
            is_forced=wanted["force"],
        )
    )
    for note in imported.notes:
        narrate(note)
    click.echo(text_table(("", "imported"), imported.facts), nl=False)
    narrate(f"next, name it in a grid, models: [{output}], and see what that is:")
    narrate(f"  {_program()} plan GRID")


@main.command()
@click.argument("recipe", type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    help="Where the checkpoint goes; default: as the recipe says.",
)
@click.option("--resume", is_flag=True, help="Go on where an interrupted training stopped.")
@click.option(
    "--device",
    default="any",
    show_default=True,
    help="As torch names it, such as cuda:1; with --address: as a node has registered it.",
)
@ADDRESS
@RESULTS
def train(
    *,
    recipe: Path,
    output: Path | None,
    resume: bool,
    device: str,
    address: str | None,
    results: Path,
) -> None:
    """Train a checkpoint by RECIPE, a YAML file.

    Each epoch leaves a state beside the output, from which --resume goes on, and a row in the
    table training of the results root.

    \b
    Example:
      gfjobs train examples/train/digits-gfnet.yaml -o digits-gfnet.safetensors
    """
    from dataclasses import replace

    from jobs.address import check_address
    from jobs.progress import TrainingNarrator
    from jobs.recipe import read_recipe
    from jobs.training import train as train_recipe

    checked = read_recipe(recipe)
    if output:
        checked = replace(checked, output=output.absolute())
    if address:
        check_address(address)
    with TrainingNarrator() as narrator:
        path = train_recipe(
            checked,
            narrator.report,
            device=device,
            address=address,
            is_resumed=resume,
            results=results,
        )
    click.echo(path)
