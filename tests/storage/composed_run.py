"""A run whose composed figures are known by hand, and where every cell has a neighbour.

The model `early` takes 2 and 6 ms, and 4 and 30 mJ, at its exits; what else is in the run is of
another batch, data set, model, round or block, or not valid.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import storage

from .conftest import NOON

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from .conftest import Builder

Row = dict[str, Any]
INVALID = {"is_valid": False, "note": "throttled: 2 of 3 rounds"}
AS_ROUTED = [1, 3, 3, 3]  # where the four images leave at 0.5
OTHERS: tuple[Row, ...] = (
    {"batch_size": 8},
    {"dataset": "other"},
    {"dataset_sha256": "d9"},
    {"threads": 2},
    INVALID,
)


class Run:
    """The run and its answers."""

    def __init__(self, build: Builder, more: float) -> None:
        """Plan it; all times are `more` milliseconds longer."""
        self._build, self._more = build, more
        self._early()
        self._static()
        self._others()
        sources = {"node-a": "replay: a.csv", "node-b": "replay: b.csv"}
        build.store(
            [
                storage.NodeRow(build.run.run_id, node, power_source=source)
                for node, source in sources.items()
            ]
        )

    def _early(self) -> None:
        """The model of the title, and what is none of its costs or routes."""
        self.passes("early")
        for number, change in enumerate(OTHERS):
            self.forced("early", {3: [50.0 + number], 1: [60.0 + number]}, **change)
        # Of an image the last exit was not timed, of another neither; block 2 is no exit.
        costs = {3: [5.0, 7.0, None], 2: [99.0], 1: [1.0, 5.0, 1.0, 1.0]}
        self.costs = self.forced("early", costs, watts={1: 6.0, 2: 99.0, 3: 9.0})
        self._slow_round(self.costs, exit_costs={"exit_block": [1, 3], "image_id": [0, 0]})
        self._mode(self.costs, "15W")
        self._mode(self.costs, "7W", node="node-b")
        self.forced("early", {3: [90.0], 1: [91.0]})
        self.routed("early", [2.0, 6.0, 6.0, 6.08, None], [*AS_ROUTED, 1], watts=8.7)
        self._slow_round(self._build.cells[-1], records={"exit_block": [1, 3], "image_id": [0, 1]})
        for change in OTHERS:
            self.routed("early", [900.0] * 4, AS_ROUTED, watts=90.0, **change)

    def _static(self) -> None:
        self.passes("static")
        self.routed("static", [0.1] * 4, [3] * 4, batch_size=8, watts=5.0)
        self._build.commit(self._build.cells[-1], 0, 90, rounds={"is_throttled": True})
        self.routed("static", [4.0] * 4, [3] * 4, watts=7.0)
        self._slow_round(self._build.cells[-1], records={"exit_block": [3, 3], "image_id": [0, 1]})

    def _others(self) -> None:
        """Models of other costs, of invalid ones, of half, of missed ones, of half the power."""
        self.passes("swift")
        swift = self.forced("swift", {1: [1.0] * 4, 3: [1.0] * 4}, watts={1: 5.0, 3: 5.0})
        self._mode(swift, "25W")
        self.routed("swift", [1.0] * 4, AS_ROUTED, watts=5.0)
        self.passes("bad")
        bad = self.forced("bad", {1: [1.0], 3: [1.0]}, watts={1: 5.0, 3: 5.0}, **INVALID)
        self._mode(bad, "25W")
        self.routed("bad", [1.0] * 4, AS_ROUTED, watts=5.0)
        self.passes("half")
        self.forced("half", {1: [1.0]}, watts={1: 5.0})
        self.passes("missed")
        self.forced("missed", {1: [2.0], 3: [6.0]}, watts={1: 6.0, 3: 9.0}, tasks=2)
        for factor in (1.0, 0.97, 1.025):
            self.routed("missed", [6.0 / factor] * 4, [3] * 4, watts=9.0)
        self.passes("dim")
        self.forced("dim", {1: [1.0], 3: [1.0]}, watts={1: 5.0})

    def _cell(self, kind: storage.CellKind, model: str, **changes: Any) -> storage.CellRow:
        blocks = (3,) if model == "static" else (1,)
        return self._build.cell(kind, model=model, exit_blocks=blocks, **changes)

    def passes(self, model: str) -> None:
        """Plan an all-exit pass: of four images the first leaves early at 0.5."""
        cell = self._cell("exits", model, batch_size=64)
        exits: Row = {"exit_block": 3, "image_id": [0, 1, 2, 3], "gate_score": None}
        if model != "static":
            scores = [0.9, 0.1, 0.1, 0.1, *[None] * 4]
            exits = {"exit_block": [1] * 4 + [3] * 4, "gate_score": scores}
            exits["image_id"] = [0, 1, 2, 3] * 2
        self._build.commit(cell, exits={"is_correct": True, **exits})

    def forced(
        self,
        model: str,
        costs: Mapping[int, Sequence[float | None]],
        watts: Mapping[int, float] | None = None,
        tasks: int = 1,
        **changes: Any,
    ) -> storage.CellRow:
        """Plan forced exits in one round; it idles at 4 W."""
        cell = self._cell("exit_costs", model, **changes)
        rows = [(block, image, ms) for block in costs for image, ms in enumerate(costs[block])]
        names = ("exit_block", "image_id", "forward_ms")
        columns = dict(zip(names, map(list, zip(*rows, strict=True)), strict=True))
        columns["forward_ms"] = [ms and ms + self._more for ms in columns["forward_ms"]]
        self._build.commit(cell, exit_costs=columns)
        for shard in range(tasks):
            self._power(cell, "idle_before", 4.0, shard=shard)
            for block, watt in (watts or {}).items():
                self._power(cell, "active", watt, exit_block=block, shard=shard)
        return cell

    def routed(
        self,
        model: str,
        forward_ms: Sequence[float | None],
        blocks: Sequence[int],
        watts: float,
        **changes: Any,
    ) -> None:
        """Plan a routed cell of one round; it idles at 4 W."""
        threshold = None if model == "static" else 0.5
        cell = self._cell("latency", model, threshold=threshold, **changes)
        columns = {"image_id": list(range(len(blocks))), "exit_block": list(blocks)}
        times = [ms and ms + self._more for ms in forward_ms]
        self._build.commit(cell, records={"forward_ms": times, "threshold": threshold, **columns})
        self._power(cell, "idle_before", 4.0)
        self._power(cell, "active", watts)

    def _slow_round(self, cell: storage.CellRow, **tables: Row) -> None:
        """Plan a round that was throttled."""
        rows = {name: {"forward_ms": 999.0, **columns} for name, columns in tables.items()}
        self._build.commit(cell, 1, rounds={"is_throttled": True}, **rows)

    def _mode(self, cell: storage.CellRow, mode: str, node: str = "node-a") -> None:
        """Plan what the machine says of a round."""
        number = 100 + len(self._build.tables)
        self._build.commit(cell, 0, number, rounds={"node": node, "power_mode": mode})

    def _power(self, cell: storage.CellRow, phase: str, watts: float, **columns: Any) -> None:
        times = [NOON, NOON + timedelta(seconds=1)]
        rows = {"node": cell.node, "rail": "total", "shard": 0, "phase": phase, "sampled_at": times}
        number = 100 + len(self._build.tables)
        self._build.commit(cell, 0, number, power=rows | {"power_mw": 1000 * watts} | columns)
