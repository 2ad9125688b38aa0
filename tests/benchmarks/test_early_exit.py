"""What the early-exit benchmark calls ideal and extra, by hand; and that it runs."""

from __future__ import annotations

import re
from collections.abc import Callable
from types import ModuleType

import numpy as np
import pytest

Script = Callable[[str], ModuleType]


def test_the_mix_is_apportioned_by_largest_remainders(script: Script) -> None:
    """Of 64: 15.33, 26.99, 10.66 and 11.01 images; the three left over go to the largest rests."""
    module = script("early_exit")
    assert module.apportioned(64, module.MIX) == [15, 27, 11, 11]
    assert module.apportioned(10_000, module.MIX) == list(module.MIX)


def test_thresholds_lie_between_scores(script: Script) -> None:
    """Two of four leave at the first gate, none of the rest at the second, one at the third."""
    scores = np.array(
        [[0.1, 0.7, 0.3, 0.9], [0.5, 0.9, 0.5, 0.9], [0.25, 0.9, 0.75, 0.9]], dtype=np.float32
    )
    thresholds = script("early_exit").thresholds_between(scores, [2, 0, 1, 1])
    assert thresholds == pytest.approx([0.5, np.inf, 0.5])


def test_shares_by_hand(script: Script) -> None:
    """12 ms for 12 blocks, 1 ms for one: 1 ms a block. Of 2 blocks left out 1.8 ms are saved."""
    module = script("early_exit")
    same = np.ones((3, 4))
    case = module.Case(12 * same, same, 10.2 * same, 12.3 * same, 2 * same)
    block, share, extra = module.figures_of(case, batch=1, depth=12, exits=3)
    assert block == pytest.approx((1, 1, 1))
    assert share == pytest.approx((0.9, 0.9, 0.9))
    assert extra == pytest.approx((0.1, 0.1, 0.1))


def test_a_batch_is_counted_by_its_images(script: Script) -> None:
    """The same of 10 images at once: 20 blocks left out are 2 each."""
    module = script("early_exit")
    same = np.ones((3, 1))
    case = module.Case(120 * same, 10 * same, 102 * same, 123 * same, 20 * same)
    block, share, extra = module.figures_of(case, batch=10, depth=12, exits=3)
    assert (block.value, share.value, extra.value) == pytest.approx((1, 0.9, 0.1))


@pytest.mark.parametrize(("batch", "blocks"), [("1", "10.03"), ("64", "10.05")])
def test_it_routes_at_the_reference_mix(
    printed: Callable[..., str], batch: str, blocks: str
) -> None:
    """Through real gates: of 100 single images 24, 42, 17 and 17; of 64 as above."""
    options = ("--runtimes", "torch", "--img-size", "32", "--rounds", "5", "--batches", batch)
    text = printed("early_exit", *options)
    assert f"batch {batch}: {blocks} of 12 blocks" in text
    # On a busy machine figures may be so large that they fill their columns.
    share = r" *-?\d+\.\d{3}"
    assert re.search(rf"saving realised / ideal{share}{share}{share} +>= 0.9", text), text
