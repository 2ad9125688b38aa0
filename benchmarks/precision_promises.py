"""Do thresholds that were promised in float32 keep their promise in another precision?

For each of many random splits of one run's images, thresholds are chosen with a guarantee in each
precision (`gfjobs choose --confidence`): is the promise kept on the held-out images, and what does
it save? Then the thresholds that were chosen in float32 route the same held-out images in the other
precision, for which nothing was promised.

    gfjobs submit examples/cifar10-precisions.yaml --run precisions
    python benchmarks/precision_promises.py --run precisions --model cifar10-dynn
"""

from __future__ import annotations

import argparse
import statistics
from pathlib import Path

from jobs.analysis.thresholds.choose import Limits, Pass, read_pass
from jobs.analysis.thresholds.exit_answers import ExitAnswers, Vector
from jobs.analysis.thresholds.fixed_sequence import ROUNDING, Split
from jobs.analysis.thresholds.guarantee import SHARES, Guarantee, NoGuaranteeError, guarantee

PRECISIONS = ("float32", "bfloat16", "int8")


def drop_points(answers: ExitAnswers, thresholds: Vector) -> float:
    """How many percentage points thresholds lose to full depth."""
    full = answers.point(answers.none_leave).accuracy_pct
    return full - answers.point(thresholds).accuracy_pct


def promise(chosen: Pass, confidence: float, seed: int) -> Guarantee | None:
    """What can be promised of a split; None if nothing can."""
    try:
        return guarantee(chosen.answers, chosen.constraints, confidence=confidence, seed=seed)
    except NoGuaranteeError:
        return None


def main() -> None:
    """Print one line per precision."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--results", type=Path, default=Path("results"))
    parser.add_argument("--run", required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--runtime", default="openvino")
    parser.add_argument("--max-drop", type=float, default=2.0)
    parser.add_argument("--confidence", type=float, default=0.9)
    parser.add_argument("--splits", type=int, default=100)
    options = parser.parse_args()
    passes = {
        precision: read_pass(
            options.results,
            options.run,
            Limits(max_drop=options.max_drop),
            {"model": options.model, "runtime": options.runtime, "precision": precision},
        )
        for precision in PRECISIONS
    }
    kept = dict.fromkeys(PRECISIONS, 0)
    saved_pct: dict[str, list[float]] = {precision: [] for precision in PRECISIONS}
    carried: dict[str, list[float]] = {precision: [] for precision in PRECISIONS}
    for seed in range(options.splits):
        found = {name: promise(each, options.confidence, seed) for name, each in passes.items()}
        for name, promised in found.items():
            kept[name] += promised is None or promised.is_kept
            full = passes[name].answers.costs[-1]
            cost = full if promised is None else promised.held_out.cost
            saved_pct[name].append(100 * (1 - cost / full))
        if (first := found["float32"]) is None:
            continue
        for name, each in passes.items():
            held_out = Split.draw(each.answers.images, SHARES, seed).held_out
            carried[name].append(drop_points(each.answers.subset(held_out), first.thresholds))
    print(
        f"{options.model}, {options.runtime}: max_drop {options.max_drop:g} promised with"
        f" confidence {options.confidence:g}, {options.splits} splits"
    )
    print(
        f"{'precision':10}{'kept':>6}{'blocks saved, %':>17}{'chosen in float32: kept':>25}", end=""
    )
    print(f"{'mean drop':>11}{'largest':>9}")
    for name in PRECISIONS:
        drops = carried[name]
        within = sum(drop <= options.max_drop + ROUNDING for drop in drops)
        print(
            f"{name:10}{kept[name]:6}{statistics.mean(saved_pct[name]):17.1f}"
            f"{f'{within} of {len(drops)}':>25}{statistics.mean(drops):11.2f}{max(drops):9.2f}"
        )


if __name__ == "__main__":
    main()
