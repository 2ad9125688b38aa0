"""Formats what `gfjobs choose` prints: thresholds, their results, and what is promised."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from jobs.analysis.thresholds.bands import bands
from jobs.analysis.thresholds.choose import Pass
from jobs.analysis.thresholds.exit_answers import ExitAnswers, OperatingPoint, Vector
from jobs.analysis.thresholds.guarantee import Guarantee
from jobs.analysis.thresholds.search import Choice
from jobs.common.formatting import (
    EXIT_COLUMNS,
    Row,
    format_accuracy,
    format_blocks,
    format_error,
    format_exit,
    format_float32,
    format_setting,
    name_lender,
)
from jobs.common.tables import text_table
from jobs.common.text import fold

RESAMPLES = 10_000
"""Number of resamples of the images, for the interval of a drop in accuracy."""

_INTERVAL = (2.5, 97.5)  # percent


def describe_choice(chosen: Pass, choice: Choice) -> str:
    """Describe the best thresholds on all images of a pass."""
    point = choice.point
    low, high = drop_interval(chosen.answers, point.thresholds)
    promise = (
        "" if chosen.cell.get("accuracy_from") else ": --confidence guarantees limits on others"
    )
    return (
        f"{_heading(chosen)}\n{fold(choice.method, indent='')}\n\n"
        f"{_figures(chosen.answers, {'chosen': point})}\n"
        f"{_exits(chosen.answers, point)}\n"
        f"{_latency(chosen, point)}"
        f"drop of accuracy, paired bootstrap of the images, 95 %: {low:.2f} to {high:.2f} points\n"
        f"chosen and measured on the same images{promise}\n"
    )


def describe_bounds(bounds: Row) -> str:
    """Describe how far the device can be from the borrowed figures, at the chosen thresholds."""
    return fold(
        f"accuracy and exits are borrowed from {bounds['accuracy_from']}: acc@1"
        f" {format_accuracy(bounds)}, blocks {format_blocks(bounds)}; the device's own are within"
        " this in 95 % of samples",
        indent="",
    )


def describe_guarantee(chosen: Pass, guarantee: Guarantee) -> str:
    """Describe thresholds promised from some images, and their results on the others."""
    selection, calibration, held_out = guarantee.images
    points = {
        f"selection, {selection}": guarantee.selection,
        f"calibration, {calibration}": guarantee.calibration,
        f"held out, {held_out}": guarantee.held_out,
    }
    promised = "\n".join(
        f"  {name} {limit:g}: certified to be no worse than {guarantee.bounds[name]:.4g}"
        for name, limit in guarantee.promised.items()
    )
    kept = "holds" if guarantee.is_kept else "does NOT hold"
    return (
        f"{_heading(chosen)}\nof {guarantee.path_steps} vectors, {guarantee.certified_steps} were"
        f" certified; the best of them:\n\n"
        f"{_figures(chosen.answers, points)}\n"
        f"{_exits(chosen.answers, guarantee.held_out)}\n"
        f"{_latency(chosen, guarantee.held_out)}"
        f"guaranteed for images held out, in {100 * guarantee.confidence:g} % of random splits:\n"
        f"{promised}\n"
        f"on this split's held-out images the guarantee {kept}\n"
    )


def describe_bands(chosen: Pass, points: Sequence[Row]) -> str:
    """Tabulate the accuracy that each of many shared thresholds loses, with its band."""
    is_timed = chosen.answers.cost_name == "forward_ms"
    vectors = [(row["threshold"],) * chosen.answers.gates for row in points]
    rows = [
        (
            format_float32(row["threshold"]),
            format_accuracy(row),
            format_blocks(row),
            *([f"{row['forward_ms']:.3f}"] if is_timed else []),
            f"{band.drop:.2f}",
            f"{band.low:.2f} to {band.high:.2f}",
        )
        for row, band in zip(points, bands(chosen.answers, vectors), strict=True)
    ]
    columns = ("t", "acc@1", "blocks", *(["ms"] if is_timed else []), "drop", "95 %, all at once")
    return text_table(columns, rows, "one threshold for all gates; paired bootstrap of the images")


def drop_interval(answers: ExitAnswers, thresholds: Vector) -> tuple[float, float]:
    """Return a 95 % interval of full-depth accuracy minus routed accuracy, in percentage points.

    Both predictions of an image are drawn together. Only how many images lose and gain a correct
    prediction matters, so a resample is one draw of three counts.
    """
    exits = answers.exits_of(thresholds)
    routed = answers.is_correct[exits, np.arange(answers.images)]
    full = answers.is_correct[-1]
    lost = int((full & ~routed).sum())
    gained = int((routed & ~full).sum())
    counts = np.array([lost, gained, answers.images - lost - gained])
    drawn = np.random.default_rng(0).multinomial(
        answers.images, counts / answers.images, size=RESAMPLES
    )
    drops = 100 * (drawn[:, 0] - drawn[:, 1]) / answers.images
    low, high = np.percentile(drops, _INTERVAL)
    return float(low), float(high)


def _heading(chosen: Pass) -> str:
    asked = chosen.constraints.describe(chosen.answers)
    note = chosen.cell["exit_forward_ms_note"]
    said = [f"milliseconds: {note}"] if note else []
    if any(limit.name == "energy_mj" for limit in chosen.constraints.cost_limits):
        why, source = (chosen.cell[f"exit_energy_{name}"] for name in ("mj_note", "source"))
        said += [*([f"millijoules: {why}"] if why else []), *([source] if source else [])]
    lines = "".join("\n" + fold(each, indent="") for each in said)
    place = f"{format_setting(chosen.cell)}{name_lender(chosen.cell)}"
    title = fold(f"{chosen.cell['model']}, {place}", indent="")
    return f"{title}\nasked: {asked}{lines}"


def _figures(answers: ExitAnswers, points: dict[str, OperatingPoint]) -> str:
    """Tabulate accuracy and cost next to full depth, on all images of the pass."""
    is_timed = answers.cost_name == "forward_ms"
    full = answers.point(answers.none_leave)
    saving = "ms saved" if is_timed else "blocks saved"
    columns = ("", "acc@1", "blocks", *(["ms"] if is_timed else []), saving)
    rows = []
    for name, point in {"full depth": full, **points}.items():
        counts = np.array(point.exit_counts)
        blocks = counts @ (np.array(answers.exit_blocks) + 1) / counts.sum()
        cost = counts @ answers.costs / counts.sum()
        saved = f"{100 * (1 - cost / answers.costs[-1]):.1f} %"
        ms = [f"{cost:.3f}"] if is_timed else []
        rows.append((name, f"{point.accuracy_pct:.2f}", f"{blocks:.2f}", *ms, saved))
    return f"{text_table(columns, rows)}\n{saving}: share of the full-depth cost, on average\n"


def _exits(answers: ExitAnswers, point: OperatingPoint) -> str:
    columns = (*EXIT_COLUMNS, "threshold", "images", "%")
    depth = answers.exit_blocks[-1] + 1
    images = sum(point.exit_counts)
    limits = [*(_limit(value) for value in point.thresholds), "–"]
    rows = [
        (*format_exit(block, depth), limit, count, f"{100 * count / images:.1f}")
        for block, limit, count in zip(answers.exit_blocks, limits, point.exit_counts, strict=True)
    ]
    return text_table(columns, rows)


def _latency(chosen: Pass, point: OperatingPoint) -> str:
    """Tabulate mean and percentiles with intervals; empty if exit costs were not measured."""
    estimates = chosen.latency_of(point.exit_counts)
    if not estimates:
        return ""
    rows = [
        (name, f"{it.value:.3f}", f"{it.low:.3f} to {it.high:.3f}")
        for name, it in estimates.items()
    ]
    samples = sum(len(costs) for costs in chosen.exit_ms)
    rows += [
        (f"p{percentile}", "–", f"needs {needed} samples, has {samples}")
        for percentile, needed in chosen.percentile_samples.items()
        if f"p{percentile}" not in estimates
    ]
    mark = format_error(
        {
            name: chosen.cell[f"exit_{name}"]
            for name in ("forward_ms_verdict", "forward_ms_error_pct")
        }
    )
    name = f"forward latency, error {mark}" if mark else "forward latency"
    return f"{text_table((name, 'ms', '95 %, by round then image'), rows)}\n"


def _limit(value: float) -> str:
    """Format one gate's threshold, as it may be written in a grid."""
    if math.isinf(value):
        return "no exit" if value > 0 else "all exit"
    return format_float32(value)
