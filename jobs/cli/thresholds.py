"""Commands about thresholds: the curve of all, the best ones, and a check of the replay."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from jobs.cli.base import FAILED, RESULTS, RUN_OR_LATEST, main, narrate, show
from jobs.cli.hints import meaning_hints
from jobs.cli.unfinished import resolve_results
from jobs.common.errors import UsageError
from storage import Root


@main.command()
@RUN_OR_LATEST
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Also write a figure: a .png or .svg file.",
)
@click.option(
    "--all",
    "is_all",
    is_flag=True,
    help="Also list dominated points, and all routed thresholds.",
)
@click.option(
    "--rules",
    "is_rules",
    is_flag=True,
    help="Instead compare exit rules: is the learned gate better than plain confidence?",
)
@RESULTS
def curve(run: str, output: Path | None, results: Root, *, is_all: bool, is_rules: bool) -> None:
    """Draw accuracy against cost at every threshold of RUN. Default: the latest.

    Below it is the frontier: points that no other beats in accuracy and cost.

    --rules draws, for each model with gates, the accuracy at equal mean blocks under each exit
    rule: its gate, the largest probability (max_prob), the margin of the two largest, the entropy,
    and patience: how many exits in a row agree.

    \b
    Example:
      gfjobs curve latest -o curve.svg
    """
    from jobs.analysis.curve import read_curves
    from jobs.report.terminal.curve import draw_curves

    (run_id,) = resolve_results(results, run)
    if is_rules:
        _draw_rules(results, run_id, output)
        return
    every = read_curves(results, run_id)
    if output:
        from jobs.report.figures.curve import drawing_of_curves, save_figure

        save_figure([*map(drawing_of_curves, every)], output)
        narrate(f"curve: {output}")
    show("\n".join(draw_curves(curves, is_all=is_all) for curves in every))
    notes = dict.fromkeys(f"– {note}" for curves in every for note in curves.notes)
    if notes:
        narrate("\n" + "\n".join(notes))


def _draw_rules(results: Root, run_id: str, output: Path | None) -> None:
    import storage
    from jobs.analysis.thresholds.exit_rules import explain_no_rules, read_rules
    from jobs.common.text import format_paragraphs
    from jobs.report.terminal.rules import draw_rules

    with storage.one_moment():
        found = storage.named_query(results, "choosable", run_ids=[run_id], run_id=run_id)
        cells = found.to_pylist()
        every = [rules for cell in cells if (rules := read_rules(results, run_id, cell))]
    if not every:
        raise UsageError(
            f"run {run_id} has no finished all-exit pass under the rule gate: there are no rules"
            " to compare (`measure: [accuracy]` of a model with gates makes such passes)"
        )
    if output:
        from jobs.report.figures.curve import drawing_of_rules, save_figure

        save_figure([*map(drawing_of_rules, every)], output)
        narrate(f"curve: {output}")
    show("\n".join(map(draw_rules, every)))
    reasons = dict.fromkeys(filter(None, map(explain_no_rules, cells)))
    if reasons:
        narrate("\n" + format_paragraphs(f"– {reason}" for reason in reasons).rstrip())


@main.command()
@RUN_OR_LATEST
@RESULTS
def certify(run: str, results: Root) -> None:
    """Check replayed thresholds of RUN against what was routed.

    The exit code is 1 if any routed image exited elsewhere or has another prediction, or if cells
    that were to be routed are not done.

    \b
    Example:
      gfjobs certify latest
    """
    import storage
    from jobs.analysis.certificate import certify as certificate_of

    (run_id,) = resolve_results(results, run)
    with storage.one_moment():
        certificate = certificate_of(results, run_id)
    show(certificate.text)
    if not certificate.is_clean:
        sys.exit(FAILED)


@main.command()
@RUN_OR_LATEST
@click.option("--max-drop", type=float, help="Largest drop of accuracy, in percentage points.")
@click.option("--min-acc1", type=float, help="Lowest accuracy, in percent.")
@click.option("--max-blocks", type=float, help="Highest mean number of blocks per image.")
@click.option("--max-forward-ms", type=float, help="Highest mean forward latency, in ms.")
@click.option("--max-energy-mj", type=float, help="Highest mean energy per image, in mJ.")
@click.option(
    "--max-p99-ms",
    type=click.FloatRange(min=0, min_open=True),
    help="Highest 99th percentile of the response of served models, in ms.",
)
@click.option(
    "--at",
    "per_s",
    type=click.FloatRange(min=0, min_open=True),
    metavar="RATE",
    help="Requests per second for --max-p99-ms; without it: the highest rate within it.",
)
@click.option(
    "--confidence",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    help="Guarantee the limits on held-out images with this confidence, such as 0.9.",
)
@click.option(
    "--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Seed of the split."
)
@click.option(
    "--bands",
    type=click.IntRange(2, 100),
    metavar="N",
    help="Also list N shared thresholds, each with a band around its loss.",
)
@click.option(
    "--model",
    shell_complete=meaning_hints("model"),
    help="Model to choose for, if the run has several with exits.",
)
@click.option("--dataset", shell_complete=meaning_hints("data set"), help="Data set to choose for.")
@click.option("--device", help="Device to choose for.")
@click.option("--node", help="Node to choose for.")
@click.option("--runtime", help="Runtime to choose for.")
@click.option("--precision", help="Precision to choose for.")
@click.option("--threads", help="Number of threads to choose for.")
@click.option(
    "--write",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write the checkpoint to this file, with the thresholds as its default.",
)
@RESULTS
def choose(
    run: str,
    results: Root,
    *,
    confidence: float | None,
    seed: int,
    bands: int | None,
    write: Path | None,
    max_p99_ms: float | None,
    per_s: float | None,
    **options: Any,
) -> None:
    """Choose one threshold per exit within limits. Default: the latest.

    A limit on accuracy minimises the cost; limits on cost alone maximise the accuracy.

    --max-p99-ms chooses among served models and thresholds, waiting included: with --at the most
    accurate one at that rate of arrivals, else the one that bears the highest rate.

    \b
    Example:
      gfjobs choose latest --max-drop 0.5
      gfjobs choose latest --max-p99-ms 50 --at 20
    """
    import storage
    from jobs.analysis.thresholds.choose import (
        NARROWING,
        Limits,
        as_usage_errors,
        read_bounds,
        read_pass,
        read_points,
        refuse_borrowed,
        write_thresholds,
    )
    from jobs.analysis.thresholds.guarantee import guarantee as guarantee_of
    from jobs.analysis.thresholds.search import search
    from jobs.analysis.thresholds.view import (
        describe_bands,
        describe_bounds,
        describe_choice,
        describe_guarantee,
    )

    (run_id,) = resolve_results(results, run)
    narrowing = {key: value for key in NARROWING if (value := options.pop(key)) is not None}
    if max_p99_ms is not None or per_s is not None:
        limits = {**options, "confidence": confidence, "bands": bands}
        given = [name for name, value in limits.items() if value is not None]
        others = [f"--{name.replace('_', '-')}" for name in given]
        if others:
            raise UsageError(f"--max-p99-ms chooses by itself: leave out {', '.join(others)}")
        _choose_served(results, run_id, (max_p99_ms, per_s), narrowing, write)
        return
    with storage.one_moment():
        chosen = read_pass(results, run_id, Limits(**options), narrowing)
    if confidence is None:
        choice = search(chosen.answers, chosen.constraints)
        thresholds = choice.point.thresholds
        show(describe_choice(chosen, choice))
        if bounds := read_bounds(results, run_id, chosen.cell, thresholds):
            show(describe_bounds(bounds))
    else:
        refuse_borrowed(chosen)
        with as_usage_errors():
            guarantee = guarantee_of(
                chosen.answers, chosen.constraints, confidence=confidence, seed=seed
            )
        thresholds = guarantee.thresholds
        show(describe_guarantee(chosen, guarantee))
    if bands:
        points = read_points(results, run_id, chosen.cell, bands)
        show(f"\n{describe_bands(chosen, points)}")
    if write:
        write_thresholds(results, run_id, chosen.cell, thresholds, write)
        narrate(f"wrote {write}; `thresholds: [default]` in a grid uses its thresholds")


def _choose_served(
    results: Root,
    run_id: str,
    limit: tuple[float | None, float | None],
    narrowing: dict[str, str],
    write: Path | None,
) -> None:
    """Choose by the response; `limit` is of its 99th percentile in ms, then a rate of arrivals."""
    from jobs.analysis.serving.limit import choose_at_rate, find_rates, pass_of
    from jobs.analysis.serving.view import describe_candidates, describe_rates
    from jobs.analysis.thresholds.choose import write_thresholds

    max_p99_ms, per_s = limit
    if max_p99_ms is None:
        raise UsageError("--at is a rate for --max-p99-ms, the highest response: give both")
    if per_s is None:
        if write:
            raise UsageError("--write needs one choice: give --at RATE, too")
        show(describe_rates(find_rates(results, run_id, max_p99_ms, narrowing), max_p99_ms))
        return
    best, every, left_out = choose_at_rate(results, run_id, max_p99_ms, per_s, narrowing)
    show(describe_candidates(best, every, max_p99_ms, left_out))
    if write:
        write_thresholds(results, run_id, pass_of(results, run_id, best), best.vector, write)
        narrate(f"wrote {write}; `thresholds: [default]` in a grid uses its thresholds")
