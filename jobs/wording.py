"""How figures of result rows are worded: settings, thresholds, counts; NULL as a dash."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jobs.tables import shown

Row = Mapping[str, Any]

MILLION, THOUSAND = 1e6, 1e3

SETTING = ("dataset", "device", "node", "runtime", "precision", "threads")
"""What `setting_of` words: rows that agree in all of it stand in one table."""


def setting_of(row: Row) -> str:
    """Where and how a cell ran: `digits on cpu of host: torch float32, 1 thread`."""
    threads = f"{row['threads']} threads" if row["threads"] else "all threads"
    threads = "1 thread" if row["threads"] == 1 else threads
    where = f"{row['device']} of {row['node']}" if row["node"] else row["device"]
    return f"{row['dataset']} on {where}: {row['runtime']} {row['precision']}, {threads}"


def threshold_of(row: Row) -> str:
    """A cell's threshold, or its thresholds where they differ."""
    if row["threshold"] is not None:
        return f"{row['threshold']:g}"
    return shown(row["thresholds"]) if row["thresholds"] else "–"


def count(number: int | None) -> str:
    """A number of parameters, cut to three digits: 15.6M, 228k."""
    if number is None:
        return "–"
    if number >= MILLION:
        return f"{number / MILLION:.2f}M"
    return f"{number / THOUSAND:.1f}k"


def fixed(number: float | None, digits: int) -> str:
    """A number with as many decimals."""
    return "–" if number is None else f"{number:.{digits}f}"
