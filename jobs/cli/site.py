"""The command that makes a site of all runs, and shows it live."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import click

from jobs.cli.base import RESULTS, main, narrate, show
from jobs.common.errors import UsageError

if TYPE_CHECKING:
    import storage
    from jobs.common.text import ShowText

_NICE = 10
"""How far a server steps back for runs on the same machine."""


@main.command()
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="The folder of the site: new, empty, or one that this command has written.",
)
@click.option(
    "--serve",
    "is_served",
    is_flag=True,
    help="Show the site on this machine, live, until Ctrl-C; without -o in a temporary folder.",
)
@click.option(
    "--port",
    type=click.IntRange(1, 65_535),
    help="With --serve: the port of 127.0.0.1.  [default: a free one]",
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
def site(
    *,
    output: Path | None,
    is_served: bool,
    port: int | None,
    whole_runs: int,
    results: storage.Root,
) -> None:
    """Make a site of all runs: pages that any browser opens, offline.

    It has an overview, a page per run, the history of each model, and any two runs side by side.
    Made again, it remakes only what has changed. With --serve the pages follow runs in progress.

    \b
    Example:
      gfjobs site -o site
      gfjobs site --serve
    """
    from jobs.report.write import check_extra

    if port and not is_served:
        raise UsageError("--port is of the server: add --serve, or leave it out")
    if output is None and not is_served:
        raise UsageError("no output is given: give -o DIR, or --serve to look at it only")
    check_extra("a site")
    if is_served:
        _serve(results, output, port or 0, whole_runs)
        return
    from jobs.nightly.missed import missed_here
    from jobs.report.site.build import build_site

    assert output is not None  # one of the two is given
    missed = missed_here(results)
    made = build_site(results, output, whole_runs=whole_runs, missed=missed, say=narrate)
    narrate(f"made {made.made} of {made.runs} runs anew; {made.written} files written")
    narrate(f"open {output / 'index.html'} in a browser")


def _serve(results: storage.Root, folder: Path | None, port: int, whole_runs: int) -> None:
    from functools import partial

    from jobs.nightly.missed import missed_here
    from jobs.report.site.build import build_site
    from jobs.report.site.serve import serve_site

    def build(whole_runs: int, root: storage.Root, place: Path, say: ShowText) -> None:
        build_site(root, place, whole_runs=whole_runs, missed=missed_here(root), say=say)

    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) != signal.SIG_IGN:  # as `nohup` sets it
            signal.signal(number, signal.default_int_handler)  # as Ctrl-C: nothing is left
    os.nice(_NICE)
    serve_site(
        results,
        folder=folder,
        port=port,
        prepare=partial(build, 0),
        build=partial(build, whole_runs),
        make_comparison=partial(_compare, results),
        announce=lambda url: show(f"{url}\n"),
        narrate=narrate,
    )


def _compare(results: storage.Root, before: str, after: str) -> bytes:
    """Make the page that compares two runs."""
    from jobs.analysis.comparison.run_data import Side
    from jobs.report.html.comparison import comparison_page
    from jobs.report.html.shell import in_site
    from jobs.report.pair import read_pair

    pair = read_pair(results, Side(before), Side(after), None)
    return comparison_page(results, pair, in_site(1)).encode()
