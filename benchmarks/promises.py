"""How often `gfjobs choose --confidence` keeps its promise, over many random splits of the images.

One all-exit pass, then as many splits as asked: each promises anew and is held against its held-out
images. A promise is broken too often where so few kept ones would be seen in less than 1 % of all
series if each were kept with the stated confidence (one-sided binomial test).

    python benchmarks/promises.py [--model digits-dynn] [--dataset digits] [--splits 200]
"""

from __future__ import annotations

import argparse
import math
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

from jobs.analysis.thresholds.choose import Limits, read_pass
from jobs.analysis.thresholds.constraints import Constraints
from jobs.analysis.thresholds.exit_answers import ExitAnswers
from jobs.analysis.thresholds.guarantee import NoGuaranteeError, guarantee
from jobs.runs.submit import submit
from jobs.runs.target import Target

SIGNIFICANCE = 0.01
ASKED = [
    (Limits(max_drop=0.5), 0.9),
    (Limits(max_drop=1), 0.9),
    (Limits(max_drop=2), 0.9),
    (Limits(max_drop=5), 0.9),
    (Limits(max_drop=1), 0.5),
    (Limits(max_drop=2), 0.5),
]


class Validity(NamedTuple):
    """How promises fared over many random splits.

    Attributes:
        kept: splits in which the held-out images kept it, or nothing could be promised.
        total: splits.
        promised: splits in which something was promised.
        mean_cost: over the held-out images of these; NaN where there are none.
    """

    kept: int
    total: int
    promised: int
    mean_cost: float


def validity(
    answers: ExitAnswers,
    constraints: Constraints,
    *,
    confidence: float,
    splits: int,
    seed: int = 0,
) -> Validity:
    """Promise anew for each of many random splits, and count how often the promise is kept."""
    kept, costs = 0, []
    for number in range(splits):
        try:
            made = guarantee(answers, constraints, confidence=confidence, seed=seed + number)
        except NoGuaranteeError:
            kept += 1
            continue
        kept += made.is_kept
        costs.append(made.held_out.cost)
    mean_cost = sum(costs) / len(costs) if costs else math.nan
    return Validity(kept, splits, len(costs), mean_cost)


def least_kept(splits: int, confidence: float) -> int:
    """The smallest number of kept promises that the test lets pass."""
    below = 0.0
    for kept in range(splits + 1):
        chance = math.comb(splits, kept) * confidence**kept * (1 - confidence) ** (splits - kept)
        below += chance
        if below >= SIGNIFICANCE:
            return kept
    return splits


def main() -> None:
    """Print the table; exit code 1 where a promise is broken too often."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="digits-dynn")
    parser.add_argument("--dataset", default="digits")
    parser.add_argument("--splits", type=int, default=200)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        grid, root = Path(folder) / "promises.yaml", Path(folder) / "results"
        grid.write_text(
            f"models: [{options.model}]\ndatasets: [{options.dataset}]\nmeasure: [accuracy]\n"
        )
        run_id = submit(grid, root, Target(is_inline=True), lambda _: None).run_id
        passes = [(read_pass(root, run_id, asked, {}), confidence) for asked, confidence in ASKED]
    answers = passes[0][0].answers
    full = float(answers.costs[-1])
    print(
        f"{options.model} on {answers.images} images, {answers.gates} gates,"
        f" {options.splits} random splits each"
    )
    print(f"{'max drop':>8}{'confidence':>12}{'promised':>10}{'kept':>6}{'needed':>8}{'blocks':>8}")
    is_sound = True
    for chosen, confidence in passes:
        found = validity(answers, chosen.constraints, confidence=confidence, splits=options.splits)
        needed = least_kept(options.splits, confidence)
        is_sound &= found.kept >= needed
        print(
            f"{chosen.constraints.max_drop:8g}{confidence:12g}{found.promised:10}{found.kept:6}"
            f"{needed:8}{found.mean_cost:8.2f}",
            flush=True,
        )
    print(f"blocks: mean over held-out images; {full:.0f} at full depth")
    sys.exit(not is_sound)


if __name__ == "__main__":
    main()
