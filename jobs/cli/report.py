"""The command that writes a report of a run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from jobs.cli.base import RESULTS, RUN_OR_LATEST, main, narrate, narrate_written, show
from jobs.common.errors import UsageError

if TYPE_CHECKING:
    import storage


@main.command()
@RUN_OR_LATEST
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The file to write: one page of HTML (.html, .htm), or Markdown (.md).",
)
@click.option(
    "--markdown", "is_markdown", is_flag=True, help="Write Markdown, to stdout by default."
)
@click.option(
    "--figures",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Also write each figure as SVG into this folder.",
)
@RESULTS
def report(
    run: str,
    output: Path | None,
    figures: Path | None,
    results: storage.Root,
    *,
    is_markdown: bool,
) -> None:
    """Write a report of RUN: one page that opens offline. Default: the latest.

    It holds the ladder, accuracy against latency and energy, a threshold explorer, images at each
    exit, gate calibration, history over the nights, and what is not valid.

    \b
    Example:
      gfjobs report latest -o report.html
      gfjobs report latest --markdown
    """
    import storage
    from jobs.report.markdown import markdown_report
    from jobs.report.read import read_report
    from jobs.report.write import (
        check_extra,
        check_places,
        check_suffix,
        write_figures,
        write_markdown,
        write_page,
    )

    if not (output or is_markdown or figures):
        raise UsageError(
            "no output is given: give -o report.html, --markdown for the text on stdout, or"
            " --figures DIR for the charts"
        )
    if output:
        check_suffix(output, is_markdown=is_markdown)
    if figures or not is_markdown:
        check_extra("a report with charts", "--markdown needs no extra")
    check_places(output, figures)
    with storage.one_moment():
        found = read_report(results, storage.resolve_run(results, run))
        if is_markdown and output:
            write_markdown(found, output)
        elif is_markdown:
            show(markdown_report(found))
        elif output:
            write_page(results, found, output)
    if figures:
        narrate(f"wrote {len(write_figures(found, figures))} figures to {figures}")
    if output:
        narrate_written(output)
