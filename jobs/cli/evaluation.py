"""The command that evaluates one checkpoint without a grid file."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import click

from gfnet.bundle.support import REFERENCE_RUNTIME
from gfnet.runtimes.availability import PRECISIONS, RUNTIMES
from jobs.cli.base import (
    ADDRESS,
    INLINE,
    RESULTS,
    RUN_NAME,
    main,
    narrate,
    program,
    root_option,
)
from jobs.cli.hints import checkpoint_hints, data_hints
from jobs.cli.runs import conclude
from storage import Root


@main.command("eval")
@click.argument("checkpoint", shell_complete=checkpoint_hints)
@click.option(
    "--data",
    required=True,
    shell_complete=data_hints,
    metavar="NAME",
    help="Data set, named as in a grid; or the path of a folder of images or a .parquet file.",
)
@click.option("--split", help="Split of the data set; default: test.")
@click.option("--limit", type=int, metavar="N", help="Use the first N images of a fixed shuffle.")
@click.option("--image", metavar="COLUMN", help="Column of the images in Parquet files.")
@click.option("--label", metavar="COLUMN", help="Column of the labels in Parquet files.")
@click.option(
    "--thresholds",
    multiple=True,
    metavar="LIST",
    help="Separated by commas: numbers; ranges START:STOP:NUM, which are not timed; '[0.6,0.5]',"
    " one per exit; default, the checkpoint's own, else 0.5.",
)
@click.option("--device", help="any, cpu, cuda, or a device of a node; default: any.")
@click.option(
    "--runtime", help=f"{', '.join(RUNTIMES)}; default: torch, of a bundle {REFERENCE_RUNTIME}."
)
@click.option(
    "--precision", help=f"{', '.join(PRECISIONS)}; default: float32, of a bundle its own."
)
@click.option(
    "--calibration",
    metavar="NAME",
    shell_complete=data_hints,
    help="For int8: data set whose training images give the ranges.",
)
@click.option("--threads", type=int, help="Threads of the model; default: 0, all processors.")
@click.option("--rounds", type=int, help="Timed passes over the images; default: 3.")
@click.option("--energy", "has_energy", is_flag=True, help="Also measure energy.")
@RUN_NAME
@RESULTS
@ADDRESS
@INLINE
def evaluate(
    *, run_id: str | None, results: Root, address: str | None, inline: bool, **options: Any
) -> None:
    """Evaluate CHECKPOINT on a data set, without a grid.

    CHECKPOINT is a bundled name, or the path of a .safetensors or .pth file or of a bundle. The
    grid that this stands for is kept with the run: submit it again, or a changed copy.

    \b
    Example:
      gfjobs eval digits-dynn --data digits --thresholds 0.5,0.8 --run one
    """
    narrate(f"reading {options['checkpoint']}")  # before torch is loaded, which takes seconds
    import storage
    from jobs.grid.evaluation import Evaluation, build_grid
    from jobs.runs.submit import submit_document
    from jobs.runs.target import Target

    document = build_grid(Evaluation(**options))
    target = Target(address, inline)
    ended = submit_document(document, Path.cwd(), results, target, narrate, run_id=run_id)
    conclude(ended, results)
    kept = storage.kept_grid(results, ended.run_id)
    if "://" in kept:
        narrate(f"to repeat it, copy its grid, {kept}, to a file, and submit that")
        return
    narrate("repeat it, or submit a changed copy of its grid:")
    narrate(f"  {program()} submit {shlex.quote(kept)}{root_option()}")
