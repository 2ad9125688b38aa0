"""How figures are formatted: settings, thresholds, counts, durations; NULL as a dash."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from jobs.common.tables import format_value

Row = Mapping[str, Any]

MILLION, THOUSAND = 1e6, 1e3

BAR_WIDTH = 16
"""Of a live bar on a terminal, in columns."""

SETTING = ("dataset", "device", "node", "runtime", "precision", "threads")
"""What `format_setting` words: rows that agree in all of it stand in one table."""

VARIED = ("device", "runtime", "precision", "threads")
"""What a grid may ask for several of, beside models, data sets and thresholds."""


def format_setting(row: Row) -> str:
    """Where and how a cell ran: `digits on cpu of host: torch float32, 1 thread`."""
    return f"{format_host(row)}: {row['runtime']} {row['precision']}, {format_threads(row)}"


def find_varying(rows: Sequence[Row]) -> tuple[str, ...]:
    """Names of what tells rows of one model apart, where a run has more than one of it."""
    return tuple(name for name in VARIED if len({row[name] for row in rows}) > 1)


def format_variant(row: Row, names: Sequence[str]) -> str:
    """What tells a cell from others of its model: `onnx float32, 1 thread`."""
    worded = " ".join(str(row[name]) for name in names if name != "threads")
    return ", ".join(filter(None, (worded, format_threads(row) if "threads" in names else "")))


def format_host(row: Row) -> str:
    """On what a cell ran: `digits on cpu of host`."""
    where = f"{row['device']} of {row['node']}" if row["node"] else row["device"]
    return f"{row['dataset']} on {where}"


def format_threads(row: Row) -> str:
    """How many threads a cell had."""
    if row["threads"] == 1:
        return "1 thread"
    return f"{row['threads']} threads" if row["threads"] else "all threads"


def format_threshold(row: Row) -> str:
    """A cell's threshold, or its thresholds where they differ."""
    if row["threshold"] is not None:
        return f"{row['threshold']:g}"
    return format_value(row["thresholds"]) if row["thresholds"] else "–"


def format_model(model: str, threshold: str) -> str:
    """A model at its formatted threshold: `dynn at 0.5`; a static model alone."""
    return model if threshold == "–" else f"{model} at {threshold}"


def energy_sources(rows: Iterable[Row]) -> list[str]:
    """What measured the energies of rows, as the view `energy_sources` words it; each line once."""
    return list(dict.fromkeys(line for row in rows if (line := row.get("energy_source"))))


def format_count(number: int | None) -> str:
    """A number of parameters, cut to three digits: 15.6M, 228k."""
    if number is None:
        return "–"
    if number >= MILLION:
        return f"{number / MILLION:.2f}M"
    return f"{number / THOUSAND:.1f}k"


def round_digits(number: float | None, digits: int) -> float | None:
    """A number cut to as many significant digits, for a table to show."""
    return None if number is None else float(f"{number:.{digits}g}")


def format_fixed(number: float | None, digits: int) -> str:
    """A number with as many decimals."""
    return "–" if number is None else f"{number:.{digits}f}"


def format_duration(seconds: float) -> str:
    """Seconds as `m:ss`, or as `h:mm:ss h` from an hour on."""
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02} h" if hours else f"{minute}:{second:02} min"


def last_line(error: str) -> str:
    """What a traceback says in the end."""
    return error.strip().splitlines()[-1]


def format_counted(number: int, one: str, many: str) -> str:
    """A number with its noun."""
    return f"{number} {one if number == 1 else many}"
