"""Commands that compare two runs, or judge a night by the nights before it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from jobs.cli.base import (
    ADDRESS,
    INLINE,
    REGRESSION,
    RESULTS,
    RUN_OR_LATEST,
    STALL,
    WAIT,
    main,
    narrate,
    narrate_written,
    show,
)
from jobs.cli.hints import meaning_hints, run_hints
from jobs.cli.unfinished import resolve_results
from jobs.common.errors import UsageError
from storage import Root

CONTROL = click.option(
    "--control",
    metavar="MODEL",
    shell_complete=meaning_hints("model"),
    help="Control model, timed in all runs; its drift is divided out of all times.",
)


@main.command()
@click.argument("run_a", shell_complete=run_hints)
@click.argument("run_b", shell_complete=run_hints)
@click.option(
    "--models",
    nargs=2,
    metavar="A B",
    shell_complete=meaning_hints("model"),
    help="Model of the first and of the second run.",
)
@click.option("--thresholds", nargs=2, type=float, metavar="A B", help="Likewise.")
@CONTROL
@click.option("--images", is_flag=True, help="List the images whose predictions differ.")
@click.option(
    "--format",
    "form",
    type=click.Choice(["table", "csv", "json"]),
    default="table",
    show_default=True,
)
@click.option(
    "--html",
    "page",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Write one page that opens offline instead: also what differs, images, frontiers.",
)
@RESULTS
def compare(
    *,
    run_a: str,
    run_b: str,
    models: tuple[str, str] | None,
    thresholds: tuple[float, float] | None,
    control: str | None,
    form: str,
    results: Root,
    images: bool,
    page: Path | None,
) -> None:
    """Compare the cells that RUN_A and RUN_B have in common.

    --models and --thresholds pair two models or thresholds, of two runs or of one given twice.

    \b
    Example:
      gfjobs compare first second --control digits-gfnet
      gfjobs compare latest latest --models digits-gfnet digits-dynn
      gfjobs compare first second --html comparison.html
    """
    if page:
        _check_page(page, form, has_images=images)
    import storage
    from jobs.analysis.comparison.compare import compare as compare_sides
    from jobs.analysis.comparison.run_data import Side
    from jobs.analysis.comparison.view import describe_comparison, encode_comparison

    runs = resolve_results(results, run_a, run_b)
    narrowed = zip(runs, models or (None, None), thresholds or (None, None), strict=True)
    sides = [Side(run, model, threshold) for run, model, threshold in narrowed]
    if page:
        from jobs.report.pair import read_pair
        from jobs.report.write import write_comparison

        narrate(f"comparing {runs[0]} with {runs[1]}")
        with storage.one_moment():
            pair = read_pair(results, sides[0], sides[1], control)
        write_comparison(results, pair, page)
        narrate_written(page)
        return
    with storage.one_moment():
        comparison = compare_sides(results, sides[0], sides[1], control, with_images=images)
    if form == "table":
        show(describe_comparison(comparison))
        return
    show(encode_comparison(comparison, form))


def _check_page(page: Path, form: str, *, has_images: bool) -> None:
    from jobs.report.write import check_comparison

    asked = [*(["--images"] if has_images else []), *([f"--format {form}"] * (form != "table"))]
    if asked:
        raise UsageError(
            f"--html writes the page instead of what {' and '.join(asked)} shows; the page has the"
            " images: leave one of them out"
        )
    check_comparison(page)


@main.command()
@RUN_OR_LATEST
@click.option(
    "--against",
    "window",
    type=int,
    default=30,
    show_default=True,
    metavar="NIGHTS",
    help="How many earlier runs of the same name to judge by.",
)
@click.option(
    "--baseline",
    metavar="RUN",
    shell_complete=run_hints,
    help="Run from which slow drifts count; default: the first.",
)
@CONTROL
@click.option(
    "--no-again",
    is_flag=True,
    help="Do not measure suspected regressions again; what was measured again before counts.",
)
@RESULTS
@ADDRESS
@INLINE
@WAIT
@STALL
def judge(
    *,
    run: str,
    results: Root,
    baseline: str | None,
    address: str | None,
    wait_s: float,
    stall_s: float,
    no_again: bool,
    inline: bool,
    **options: Any,
) -> None:
    """Judge RUN by earlier runs of its name. Default: the latest.

    Suspected regressions are measured again before they are reported. The exit code is 3 if a
    regression was found that was not reported for an earlier run, and 0 if some are only suspect.

    \b
    Example:
      gfjobs judge latest --control digits-gfnet
    """
    import storage
    from jobs.analysis.regressions.judge import judge as judge_night
    from jobs.analysis.regressions.remeasure import make_remeasure
    from jobs.analysis.regressions.settings import Settings
    from jobs.analysis.regressions.view import describe_judgements
    from jobs.runs.target import Target

    pinned = storage.resolve_run(results, baseline) if baseline else None
    try:
        settings = Settings(baseline=pinned, **options)
    except ValueError as err:
        raise UsageError(str(err)) from err
    target = Target(address, is_inline=inline, wait_s=wait_s, stall_s=stall_s)
    remeasure = None if no_again else make_remeasure(results, target, narrate)
    (run_id,) = resolve_results(results, run)
    verdict = judge_night(results, run_id, settings, remeasure)
    show(describe_judgements(verdict))
    if verdict.is_regression:
        sys.exit(REGRESSION)
