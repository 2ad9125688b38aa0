"""The command that makes a site of all runs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from jobs.cli.base import RESULTS, main, narrate

if TYPE_CHECKING:
    import storage


@main.command()
@click.option(
    "-o",
    "--output",
    required=True,
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="The folder of the site: new, empty, or one that this command has written.",
)
@click.option(
    "--whole",
    "whole_runs",
    type=click.IntRange(min=0),
    default=1,
    show_default=True,
    metavar="N",
    help="How many of the newest runs get their whole report; others get their figures.",
)
@RESULTS
def site(output: Path, whole_runs: int, results: storage.Root) -> None:
    """Make a site of all runs: pages that any browser opens, offline.

    It has an overview, a page per run, the history of each model, and any two runs side by side.
    Made again, it remakes only what has changed.

    \b
    Example:
      gfjobs site -o site
    """
    from jobs.report.site.build import build_site
    from jobs.report.write import check_extra

    check_extra("a site")
    made = build_site(results, output, whole_runs=whole_runs, say=narrate)
    narrate(f"made {made.made} of {made.runs} runs anew; {made.written} files written")
    narrate(f"open {output / 'index.html'} in a browser")
