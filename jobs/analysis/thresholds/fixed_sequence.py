"""Tests in a fixed sequence which steps of a path keep their promises on unseen images."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from jobs.analysis.thresholds.risks import Promise
from jobs.statistics.betting import Numbers, rejects

WINDOW = 1.0
"""See `choose_kappas`; values from 0.5 to 2 give similar promises."""

ROUNDING = 1e-9
"""Tolerance of a mean loss: halves of images add up exactly, shares of a cost do not."""


class Split(NamedTuple):
    """The images in three parts, by number, in random order.

    Attributes:
        selection: the path and the kappas are chosen on these.
        calibration: the path is tested on these.
        held_out: the promise is about these.
    """

    selection: NDArray[np.intp]
    calibration: NDArray[np.intp]
    held_out: NDArray[np.intp]

    @classmethod
    def draw(cls, images: int, shares: tuple[float, float], seed: int) -> Split:
        """Split a random order of the images by shares; each part has at least one image.

        Raises:
            ValueError: no image is left to hold out.
        """
        order = np.random.default_rng(seed).permutation(images)
        first, second = (max(1, round(share * images)) for share in shares)
        if first + second >= images:
            raise ValueError(
                f"{images} images in shares of {shares[0]:g} and {shares[1]:g} leave none to hold"
                " out; give more images, or smaller shares"
            )
        return cls(order[:first], order[first : first + second], order[first + second :])


class Tested(NamedTuple):
    """The test result of each step.

    Attributes:
        steps: number of steps tested, from the first to the one that failed.
        is_certified: (J,) whether the step keeps all these promises.
        bounds: for each promise (J,) the greatest mean loss over the held-out images; it holds for
            certified steps.
    """

    steps: int
    is_certified: NDArray[np.bool_]
    bounds: tuple[Numbers, ...]


def certify_steps(
    promises: Sequence[Promise],
    exits: NDArray[np.intp],
    do_none_leave: NDArray[np.bool_],
    split: Split,
    error: float,
) -> Tested:
    """Test the steps of a path in order, until one fails.

    With probability 1 - `error`, over the random split, all promises hold for all certified steps
    at once. For each step and promise, the selection images alone fix a kappa, and the null
    hypothesis is "the mean loss over the n calibration and m held-out images is kappa or more". A
    step is rejected if the nulls of all its promises are rejected or need no test. A true null is
    rejected only if the first true one is, which has a probability of at most `error`. If none is,
    the mean over the held-out images of every rejected step lies below

        ((n + m) kappa - sum over the calibration images) / m

    and the certified steps are the rejected ones for which this bound is within the promise. The
    calibration images must not choose kappa: which null is the first true one must not depend on
    them.

    Args:
        promises: what must hold for a step.
        exits: (J, N) where each image exits at each step.
        do_none_leave: (J,) whether a step lets no image exit early, whatever the images.
        split: of the N images.
        error: the probability of certifying a step that does not keep its promises.
    """
    drawn, others = len(split.calibration), len(split.held_out)
    is_rejected = np.ones(len(exits), np.bool_)
    is_within = is_rejected.copy()
    bounds = []
    for promise in promises:
        selection = promise.losses[exits[:, split.selection], split.selection]
        losses = promise.losses[exits[:, split.calibration], split.calibration]
        kappas = choose_kappas(selection, drawn, others, promise.bound, error)
        ceilings = promise.ceilings(do_none_leave)
        is_certain = ceilings <= promise.bound + ROUNDING
        is_rejected &= rejects(losses, drawn + others, kappas, error) | is_certain
        bound = ((drawn + others) * kappas - losses.sum(axis=1)) / others
        bounds.append(np.where(is_certain, ceilings, bound))
        is_within &= bounds[-1] <= promise.bound + ROUNDING
    is_before_end = np.logical_and.accumulate(is_rejected)
    steps = min(int(is_before_end.sum()) + 1, len(exits))
    return Tested(steps, is_before_end & is_within, tuple(bounds))


def choose_kappas(
    selection: Numbers, drawn: int, others: int, bound: float, error: float
) -> Numbers:
    """Return the (J,) kappas that promise the most, as far as the selection images can tell.

    If the calibration images have the same mean loss s as the selection images, the bound of
    `certify_steps` equals the promised one, a, for

        (n + m) kappa = m a + n s,    that is    kappa = a - (a - s) n / (n + m).

    A test on n images distinguishes a mean x from kappa if x <= kappa - reach, with

        reach = sqrt(2 log(1 / error)) sigma / sqrt(n) sqrt(m / (n + m)),

    the last factor because they are drawn without replacement. So a step is certified if x is at
    least a - (a - kappa) (n + m) / n, below which the bound is above a, and at most kappa - reach.
    Such an x exists only if a - kappa exceeds reach n / m, the kappa at which the bound is a at the
    very edge of rejection; `WINDOW` times as much is added, so that the range is `WINDOW` reach
    wide.

    Args:
        selection: (J, n_s) losses.
        drawn: n.
        others: m.
        bound: a.
        error: of the test.
    """
    images = selection.shape[1]
    variances = (selection.var(axis=1) * images + 0.25) / (images + 1)  # one imaginary image
    reach = np.sqrt(2 * math.log(1 / error) * variances / drawn * others / (drawn + others))
    as_selected = (bound - selection.mean(axis=1)) * drawn / (drawn + others)
    least = (1 + WINDOW) * reach * drawn / others
    kappas: Numbers = bound - np.maximum(least, as_selected)
    return kappas
