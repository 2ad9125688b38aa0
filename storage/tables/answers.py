"""Counts unanswered images: those with a loss that is not finite."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa

ANSWERS = {
    "exits": ("cell_id", "image_id", "loss"),
    "records": ("cell_id", "image_id", "loss", "round"),
}
"""Tables whose rows are predictions, with the columns that are needed."""


def unanswered(table: pa.Table) -> Counter[tuple[str, int]]:
    """Count the images of each round (cell_id, round) with a loss that is not finite.

    A loss of NULL was not computed, and does not count. An all-exit pass has one round, 0; an image
    in it counts once, however many of its exits are affected.
    """
    import pyarrow.compute as pc  # readers, who need none of it, are spared a tenth of a second

    broken = table.filter(pc.invert(pc.is_finite(table["loss"])))
    rounds = broken["round"].to_pylist() if "round" in table.column_names else [0] * len(broken)
    images = zip(broken["cell_id"].to_pylist(), rounds, broken["image_id"].to_pylist(), strict=True)
    return Counter((cell_id, number) for cell_id, number, _ in set(images))
