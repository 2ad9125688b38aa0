"""Results of compacting and checking a results root, as text."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence

import storage
from jobs.common.text import fold

TELL_EVERY_S = 5.0


def show_slowly(narrate: Callable[[str], None]) -> Callable[[str, int, int], None]:
    """Returns a progress callback that reports at most every TELL_EVERY_S; short work is silent."""
    told_s = time.monotonic()

    def tell(run_id: str, number: int, of: int) -> None:
        nonlocal told_s
        if time.monotonic() - told_s >= TELL_EVERY_S:
            told_s = time.monotonic()
            narrate(f"{run_id}: run {number} of {of}")

    return tell


def describe_compaction(done: storage.Compaction, is_dry: bool) -> str:
    """Describes what a compaction did, or would do."""
    would = "would be " if is_dry else ""
    lines = [f"{_runs(len(done.added))} {would}compacted, {len(done.kept)} already compacted"]
    if done.dropped:
        lines.append(f"{_runs(len(done.dropped))} had changed or been removed since")
    lines += [
        f"{_runs(number)} left out: {reason}"
        for reason, number in sorted(Counter(done.left.values()).items())
    ]
    return "\n".join(lines)


def describe_check(problems: Sequence[storage.Problem]) -> str:
    """Describes each problem found, and whether it was repaired."""
    if not problems:
        return "nothing is wrong\n"
    lines = []
    for problem in problems:
        lines.append(f"{problem.run_id or 'results'}: {problem.what}")
        if problem.is_repaired:
            lines.append(f"  repaired: {problem.remedy}")
        elif problem.remedy:
            lines.append(f"  with --repair: {problem.remedy}")
        else:
            lines.append("  restore it from a copy, or remove it (a run: with `gfjobs rm`)")
    repaired = sum(problem.is_repaired for problem in problems)
    found = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
    lines.append(f"{found}, {repaired} repaired")
    if again := sorted({p.run_id for p in problems if p.run_id and p.is_resumed and p.is_repaired}):
        lines.append(f"to run what was dropped again: gfjobs resume {' / '.join(again)}")
    return "".join(fold(line, indent=_indent(line)) + "\n" for line in lines)


def _indent(line: str) -> str:
    """Return the indentation of a line's continuation: two more than its own."""
    return " " * (len(line) - len(line.lstrip()) + 2)


def _runs(number: int) -> str:
    return "1 run" if number == 1 else f"{number} runs"
