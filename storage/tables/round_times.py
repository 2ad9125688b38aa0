"""Sums the times of each round: all that the mean of a round, or of an exit in it, is made of."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pyarrow as pa

TIMED_COLUMNS = {
    "records": ("cell_id", "round", "forward_ms"),
    "exit_costs": ("cell_id", "round", "exit_block", "forward_ms"),
}
"""Tables whose rows are forward passes, with the columns that are needed."""


class RoundKey(NamedTuple):
    """What has one mean: a round of a cell, or of one forced exit of it."""

    cell_id: str
    exit_block: int | None
    round: int


class RoundSum(NamedTuple):
    """The forward passes of a round: their number, and their times in all."""

    passes: int
    total_ms: float

    def plus(self, other: RoundSum) -> RoundSum:
        """Return the sum of two parts of a round."""
        return RoundSum(self.passes + other.passes, self.total_ms + other.total_ms)


RoundSums = dict[RoundKey, RoundSum]


def sum_round_times(name: str, table: pa.Table) -> RoundSums:
    """Sum the times of a table of TIMED_COLUMNS by round; images without a time do not count."""
    import pyarrow as pa  # as in answers.py
    import pyarrow.compute as pc

    keys = [column for column in TIMED_COLUMNS[name] if column != "forward_ms"]
    timed = table.filter(pc.is_valid(table["forward_ms"]))
    # One thread: sums of the same rows must have the same last bit when a run is resumed.
    sums = pa.TableGroupBy(timed, keys, use_threads=False).aggregate(
        [("forward_ms", "sum"), ("forward_ms", "count")]
    )
    return {
        RoundKey(row["cell_id"], row.get("exit_block"), row["round"]): RoundSum(
            row["forward_ms_count"], row["forward_ms_sum"]
        )
        for row in sums.to_pylist()
    }


def add_round_sums(sums: RoundSums, more: Mapping[RoundKey, RoundSum]) -> None:
    """Add the sums of another shard to those of rounds."""
    for key, found in more.items():
        sums[key] = sums[key].plus(found) if key in sums else found
