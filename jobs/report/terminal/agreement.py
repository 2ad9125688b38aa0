"""Agreement of a run's other engines with eager float32, as text. Figures come from SQL."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

import storage
from jobs.common.formatting import Row, format_host, format_threads, format_threshold, round_digits
from jobs.common.tables import long_table
from jobs.common.text import fold

_GROUP = ("dataset", "device", "node", "threads")


def agreement(root: storage.Root, run_id: str, *, is_all: bool = False) -> str:
    """Formats a table per data set and device, with a line per compared cell; empty if none."""
    rows = storage.named_query(
        root, "engines_beside_reference", run_ids=[run_id], run_id=run_id
    ).to_pylist()
    groups = groupby(rows, key=lambda row: [row[key] for key in _GROUP])
    return "\n".join(_table(list(group), is_all=is_all) for _, group in groups)


def _table(rows: Sequence[Row], *, is_all: bool) -> str:
    title = (
        "agreement with eager float32 (of a bundle: with its graphs in ONNX Runtime),"
        f" {format_host(rows[0])}, {format_threads(rows[0])}: largest logit difference; answers and"
        " exits that differ"
    )
    columns = ("model", "runtime", "precision", "t", "images", "logit", "answers", "exits")
    cells = [
        (
            row["model"],
            row["runtime"],
            row["precision"],
            _threshold(row),
            row["images"],
            round_digits(row["max_logit_difference"], 2),
            row["answer_flips"],
            row["exit_flips"],
        )
        for row in rows
    ]
    table = long_table(columns, cells, "rows", is_all=is_all)
    return f"{fold(title, indent='')}\n\n{table}"


def _threshold(row: Row) -> str:
    """The threshold of a cell; an all-exit pass holds for all thresholds."""
    return "all" if row["kind"] == "exits" else format_threshold(row)
