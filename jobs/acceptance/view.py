"""An acceptance as a table for people, and as JSON for programs."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from gfnet.atomic import replace_file
from jobs.acceptance.accept import Acceptance
from jobs.acceptance.check_result import FAIL, OK, SKIP, CheckResult
from jobs.common.text import fold

SHOWN_S = 1.0
"""Seconds from which on a check's time is shown; the JSON has all."""

_INDENT = " " * 6


def acceptance_table(acceptance: Acceptance) -> Iterator[str]:
    """Yield the machine, then lines per check: what was found, and what is expected."""
    machine = acceptance.machine
    name = machine["gpu"] or f"no GPU: {machine['processor'] or machine['architecture']}"
    software = f"torch {machine['torch']}, CUDA {machine['cuda'] or 'none'}"
    if machine["driver"]:
        software += f", driver {machine['driver']}"
    yield fold(f"{name}; {software}; {machine['made_at']}")
    yield ""
    for result in acceptance.results:
        yield from _lines(result)
    count = Counter(result.verdict for result in acceptance.results)
    verdict = "accepted" if acceptance.is_accepted else "NOT accepted"
    yield ""
    yield fold(
        f"{verdict}: {count[OK]} ok, {count[FAIL]} failed, {count[SKIP]} skipped, in"
        f" {acceptance.seconds:.0f} s"
    )


def acceptance_json(acceptance: Acceptance) -> str:
    """Return all of it as JSON; what is not known, or not a number, is null."""
    return json.dumps(
        {
            "is_accepted": acceptance.is_accepted,
            "seconds": acceptance.seconds,
            "machine": acceptance.machine,
            "checks": [_plain(result) for result in acceptance.results],
        },
        indent=2,
        allow_nan=False,
    )


def save_json(acceptance: Acceptance, path: Path) -> None:
    """Write the JSON to a file, whole or not at all."""
    replace_file(path, f"{acceptance_json(acceptance)}\n".encode())


def _plain(result: CheckResult) -> dict[str, Any]:
    figures = {
        name: value if value is not None and math.isfinite(value) else None
        for name, value in result.figures.items()
    }
    return asdict(replace(result, figures=figures))


def _lines(result: CheckResult) -> Iterator[str]:
    said = result.found if result.found is not None else result.reason
    took = f" ({result.seconds:.0f} s)" if result.seconds >= SHOWN_S else ""
    yield fold(f"{result.name}: {said}{took}", start=f"{result.verdict:4}  ", indent=_INDENT)
    if result.verdict != SKIP:
        yield fold(f"expected: {result.expected}", start=_INDENT, indent=_INDENT)
