"""Formats figures: settings, thresholds, counts, durations; NULL as a dash."""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import storage
from jobs.common.tables import format_value

Row = Mapping[str, Any]

MILLION, THOUSAND = 1e6, 1e3

BAR_WIDTH = 16
"""Columns of a progress bar in a terminal."""

SETTING = ("dataset", "device", "node", "runtime", "precision", "threads")
"""What `format_setting` formats: rows that agree in all of it share a table."""

PLACE = ("dataset", "device", "node")
"""What `format_host` formats: one ladder has all rows that agree in it."""

VARIED = ("device", "runtime", "precision", "threads")
"""Axes of a grid other than models, data sets and thresholds."""


def format_setting(row: Row) -> str:
    """Format where and how a cell ran: `digits on cpu of host: torch float32, 1 thread`."""
    return f"{format_host(row)}: {row['runtime']} {row['precision']}, {format_threads(row)}"


def find_varying(rows: Sequence[Row]) -> tuple[str, ...]:
    """Return the names in VARIED of which the rows have more than one value."""
    return tuple(name for name in VARIED if len({row[name] for row in rows}) > 1)


def format_variant(row: Row, names: Sequence[str]) -> str:
    """Format what distinguishes a cell from others of its model: `onnx float32, 1 thread`."""
    worded = " ".join(str(row[name]) for name in names if name != "threads")
    return ", ".join(filter(None, (worded, format_threads(row) if "threads" in names else "")))


def find_axes(rows: Sequence[Row]) -> tuple[str, ...]:
    """Return what the rows of one ladder were run with in more than one way."""
    names = ("runtime", "precision", "threads", "batch_size")
    return tuple(name for name in names if len({row[name] for row in rows}) > 1)


def name_axis(name: str) -> str:
    """Return the name of an axis's column in a table."""
    return "batch" if name == "batch_size" else name


def format_constant(row: Row, axes: Sequence[str]) -> str:
    """Format where a ladder ran, and what is not in `axes`: `digits on cpu of host: 1 thread`."""
    engine = " ".join(str(row[name]) for name in ("runtime", "precision") if name not in axes)
    said = (
        engine,
        "" if "threads" in axes else format_threads(row),
        "" if "batch_size" in axes else f"batch {row['batch_size']}",
    )
    same = ", ".join(filter(None, said))
    return f"{format_host(row)}{same and f': {same}'}"


def format_axes(row: Row, axes: Sequence[str]) -> list[str]:
    """Format a row's values of `axes`; 0 threads are all."""
    return [
        "all" if name == "threads" and not row[name] else format_value(row[name]) for name in axes
    ]


def format_speedup(row: Row) -> tuple[str, str]:
    """Format how many times as fast as eager float32 a row is, and the interval of that."""
    low, high = row["speedup_low"], row["speedup_high"]
    interval = "–" if low is None else f"{low:.2f} to {high:.2f}"
    return format_fixed(row["speedup"], 2), interval


def has_speedups(rows: Iterable[Row]) -> bool:
    """Whether a row other than those of eager torch in float32 has a speed-up over them."""
    return any(
        row["speedup"] is not None and (row["runtime"], row["precision"]) != ("torch", "float32")
        for row in rows
    )


def format_host(row: Row) -> str:
    """Format data set, device and host of a cell: `digits on cpu of host`."""
    where = f"{row['device']} of {row['node']}" if row["node"] else row["device"]
    return f"{row['dataset']} on {where}"


def format_threads(row: Row) -> str:
    """Format the number of threads of a cell."""
    if row["threads"] == 1:
        return "1 thread"
    return f"{row['threads']} threads" if row["threads"] else "all threads"


def format_float32(value: float) -> str:
    """Format a threshold or score so that it reads back as the same float32, in few digits.

    A threshold that equals an image's score lets the image exit; rounded up, it would not.
    """
    for digits in range(6, 9):
        text = f"{value:.{digits}g}"
        if struct.pack("f", float(text)) == struct.pack("f", value):
            return text
    return f"{value:.9g}"  # distinguishes every float32 from its neighbours


def format_threshold(row: Row) -> str:
    """Format a cell's threshold, or its thresholds if they differ."""
    if row["threshold"] is not None:
        return format_float32(row["threshold"])
    return f"[{', '.join(map(format_float32, row['thresholds']))}]" if row["thresholds"] else "–"


EXIT_COLUMNS = ("after block", "blocks run")
"""The columns of `format_exit`."""


def format_exit(block: int, depth: int | None) -> tuple[str, int]:
    """Format an exit: the block, counted from 0, and how many blocks have run there.

    The last block of so many has no gate: it classifies the images that no gate let exit.
    """
    return f"{block}, full depth" if block + 1 == depth else str(block), block + 1


def format_model(model: str, threshold: str) -> str:
    """Format a model with its formatted threshold: `dynn at 0.5`; a static model alone."""
    return model if threshold == "–" else f"{model} at {threshold}"


def energy_sources(rows: Iterable[Row]) -> list[str]:
    """Return what measured the energies of rows, in words of view `energy_sources`, each once."""
    return list(dict.fromkeys(line for row in rows if (line := row.get("energy_source"))))


def format_kind(kind: str, arrivals_per_s: float | None, batch_size: int) -> str:
    """Format a kind of cell with its load, if it has cells of several: `serving 20/s`."""
    if arrivals_per_s is not None:
        return f"{kind} {arrivals_per_s:g}/s"
    known = storage.KINDS.get(kind)  # None for a kind that a newer version wrote
    return f"{kind} {batch_size}" if known and known.is_by_batch else kind


def format_count(number: int | None) -> str:
    """Format a number of parameters in millions or thousands: 15.60M, 228.0k."""
    if number is None:
        return "–"
    if number >= MILLION:
        return f"{number / MILLION:.2f}M"
    return f"{number / THOUSAND:.1f}k"


def round_digits(number: float | None, digits: int) -> float | None:
    """Round a number to so many significant digits, for a table."""
    return None if number is None else float(f"{number:.{digits}g}")


def format_fixed(number: float | None, digits: int) -> str:
    """Format a number with so many decimals."""
    return "–" if number is None else f"{number:.{digits}f}"


def format_accuracy(row: Row, digits: int = 2) -> str:
    """Format the accuracy of a row, percent; if it is borrowed with its bound: `±0.60 borrowed`."""
    accuracy = format_fixed(row["acc1"], digits)
    if not row.get("accuracy_from") or row["acc1"] is None:
        return accuracy
    return f"{accuracy} ±{_round_up(row['acc1_bound_points'], digits)} borrowed"


def format_blocks(row: Row, digits: int = 2) -> str:
    """Format the mean blocks of a row; if they are borrowed, with their bound."""
    blocks = format_fixed(row["mean_blocks"], digits)
    if not row.get("mean_blocks_bound"):
        return blocks
    return f"{blocks} ±{_round_up(row['mean_blocks_bound'], digits)}"


def _round_up(bound: float, digits: int) -> str:
    """Format a bound, which rounding must not lower."""
    return f"{math.ceil(bound * 10**digits - _ROUNDING) / 10**digits:.{digits}f}"


def name_lender(row: Row) -> str:
    """Return what follows a name if its accuracy is borrowed: `, accuracy borrowed from cuda`."""
    lender = row.get("accuracy_from")
    return f", accuracy borrowed from {lender}" if lender else ""


def format_error(row: Row) -> str:
    """Format the error of a row's composed milliseconds, if it is not shown to be tolerable.

    `?-3.8 %`: beyond the tolerance, so nothing is promised; `+1.2 %`: not shown to be within it.
    """
    verdict, error = row.get("forward_ms_verdict"), row.get("forward_ms_error_pct")
    if verdict not in ("unclear", "beyond") or error is None:
        return ""
    return f"{'?' if verdict == 'beyond' else ''}{error:+.1f} %"


_ROUNDING = 1e-9
_MANY_HOURS = 100


def format_duration(seconds: float) -> str:
    """Format seconds as `5 s`, `1:05 min`, `1:05:00 h` or `4.2 days`, by how many they are."""
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    if hours >= _MANY_HOURS:
        return f"{hours / 24:,.1f} days"
    if hours:
        return f"{hours}:{minute:02}:{second:02} h"
    return f"{minute}:{second:02} min" if minutes else f"{second} s"


def last_line(error: str) -> str:
    """Return the last line of a traceback."""
    return error.strip().splitlines()[-1]


_LISTED = 4


def list_some(names: Sequence[str], separator: str = ", ") -> str:
    """List the first names, and how many more there are."""
    more = len(names) - _LISTED
    listed = names if more == 1 else names[:_LISTED]  # "and 1 more" is as long as that one
    return separator.join(listed) + (f" and {more:,} more" if more > 1 else "")


def format_counted(number: int, one: str, many: str) -> str:
    """Format a number with its noun, singular or plural."""
    return f"{number} {one if number == 1 else many}"
