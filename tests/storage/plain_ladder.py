"""A short query in the place of the ladder, for tests of what is done with a summarised view.

DuckDB takes a quarter of a second to understand the ladder, and does so at each merge, check and
compaction; these are the same whatever the view. This one has the ladder's columns, and looks at
all tables that the ladder looks at: a change of any of them is a change of its rows.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import pytest

from storage.sql import macros

if TYPE_CHECKING:
    from collections.abc import Iterator

PLAIN_LADDER = """
WITH
timed AS (
    SELECT run_id, cell_id, node, count(*) AS samples, avg(forward_ms) AS forward_ms,
        avg(elapsed_ms) AS elapsed_ms, 100 * avg(is_correct::INTEGER) AS acc1,
        100 * avg(is_top5::INTEGER) AS acc5, avg(loss) AS loss, avg(exit_block) + 1 AS mean_blocks
    FROM records GROUP BY ALL
),
passed AS (
    SELECT run_id, cell_id, count(*) AS rows, 100 * avg(is_correct::INTEGER) AS acc1
    FROM exits GROUP BY ALL
),
powered AS (SELECT run_id, cell_id, avg(power_mw) / 1000 AS power_w FROM power GROUP BY ALL),
states AS (
    SELECT run_id, cell_id, max(power_mode) AS power_mode, sum(clock_mhz) AS clock_mhz
    FROM rounds GROUP BY ALL
)
SELECT c.run_id, c.cell_id, c.dataset, c.device, c.node, c.runtime, c.precision, c.threads,
    c.batch_size, c.model, c.threshold, c.thresholds, c.params,
    coalesce(p.acc1, t.acc1) AS acc1, t.acc5, t.loss, [p.rows] AS exit_counts, t.mean_blocks,
    t.samples, t.forward_ms, t.forward_ms AS p50_ms, NULL::DOUBLE AS p90_ms,
    NULL::DOUBLE AS p99_ms, t.elapsed_ms, 1000 / t.elapsed_ms AS fps, w.power_w,
    NULL::DOUBLE AS idle_w, w.power_w * t.forward_ms AS energy_mj,
    NULL::DOUBLE AS energy_elapsed_mj, NULL::DOUBLE AS energy_gross_mj,
    NULL::DOUBLE AS energy_saving_pct, n.power_source AS energy_source, n.note AS energy_note,
    s.power_mode, c.is_valid,
    concat_ws('; ', c.note, c.error, r.baseline, n.note, s.clock_mhz) AS note,
    NULL::DOUBLE AS device_ms, NULL::DOUBLE AS host_share_pct,
    list_avg(c.exit_params) AS mean_params, list_avg(c.exit_multiply_adds) AS mean_multiply_adds,
    list_avg(c.exit_executed_multiply_adds) AS mean_executed_multiply_adds,
    c.borrowed_from AS accuracy_from, NULL::DOUBLE AS acc1_bound_points,
    NULL::DOUBLE AS mean_blocks_bound
FROM cells c
LEFT JOIN runs r ON r.run_id = c.run_id
LEFT JOIN nodes n ON n.run_id = c.run_id AND n.node = c.node
LEFT JOIN timed t ON t.run_id = c.run_id AND t.cell_id = c.cell_id
LEFT JOIN passed p ON p.run_id = c.run_id AND p.cell_id = c.cell_id
LEFT JOIN powered w ON w.run_id = c.run_id AND w.cell_id = c.cell_id
LEFT JOIN states s ON s.run_id = c.run_id AND s.cell_id = c.cell_id
ORDER BY c.run_id, c.position, c.cell_id
"""


CACHES = (macros.definition, macros.query_statement, macros._uses, macros._is_repeated)
"""What is kept of the queries' texts: to be cleared before and after one is replaced."""


@contextlib.contextmanager
def plain_ladder() -> Iterator[None]:
    """Whoever asks for the ladder gets the plain one."""
    text = macros.query_text
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            macros,
            "query_text",
            lambda name: PLAIN_LADDER if name == "ladder" else text(name),
        )
        for each in CACHES:
            each.cache_clear()
        try:
            yield
        finally:
            for each in CACHES:
                each.cache_clear()
