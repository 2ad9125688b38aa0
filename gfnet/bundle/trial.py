"""Runs a bundle on a few images before it is used: are its answers finite, its scores in range?"""

from __future__ import annotations

import numpy as np

from gfnet.bundle.errors import BundleError
from gfnet.bundle.precisions import closeness
from gfnet.bundle.reader import Bundle
from gfnet.bundle.sessions import BundleSessions, StageArrays

_IMAGES = 3


def try_bundle(bundle: Bundle, threads: int = 1) -> BundleSessions:
    """Run a bundle on fixed random images, and return what runs it.

    Raises:
        BundleError: it cannot be run, an answer is not finite, a score is not from 0 to 1, or an
            image's answers depend on the other images of its batch.
    """
    sessions = BundleSessions(bundle, threads)
    side = bundle.manifest.preprocessing.crop
    random = np.random.default_rng(0)
    images = random.standard_normal((_IMAGES, 3, side, side), np.float32)
    close = closeness(bundle.manifest.precision)
    together, alone = sessions.exits(images), sessions.exits(images[:1])
    for entry, every, one in zip(bundle.manifest.stages, together, alone, strict=True):
        place = f"{bundle.where}: {entry.file}"
        _check_range(place, every)
        reach = close * max(1.0, float(np.abs(every.logits).max()))
        if np.abs(every.logits[:1] - one.logits).max() > reach:
            raise BundleError(
                f"{place}: the logits of an image change with the other images of its batch;"
                " export the model in evaluation mode, for any batch size"
            )
    if bundle.manifest.single:
        logits, block, _ = sessions.single(images[:1], [np.inf] * (len(together) - 1))
        last = bundle.manifest.stages[-1].exit_block
        reach = close * max(1.0, float(np.abs(together[-1].logits).max()))
        is_like = np.abs(logits - alone[-1].logits).max() <= reach
        if not is_like or block.tolist() != [last]:
            raise BundleError(
                f"{bundle.where}: {bundle.manifest.single.file}: with infinite thresholds it does"
                f" not give the logits of the last stage and its exit block {last}"
            )
    return sessions


def _check_range(place: str, found: StageArrays) -> None:
    if not np.isfinite(found.logits).all():
        raise BundleError(f"{place}: a logit is not finite for a random image; check the weights")
    if found.scores is None:
        return
    if not (np.isfinite(found.scores).all() and 0 <= found.scores.min() <= found.scores.max() <= 1):
        raise BundleError(
            f"{place}: its scores reach from {found.scores.min():g} to {found.scores.max():g};"
            " allowed: 0 to 1, such as what a sigmoid gives"
        )
