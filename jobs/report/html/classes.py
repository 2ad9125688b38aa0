"""Data of the page's confusion matrix: the label and the predictions of each image, packed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from jobs.report.html.base64_arrays import encode_array
from jobs.report.read import AllExitPass, PassClasses

MATRIX_CLASSES = 30
"""Classes of a matrix; of more, the most confused pairs are listed."""

LISTED_CLASSES = 200
"""Classes of the page's table; of more, those of the lowest accuracy."""

_PER_PAIR = 6  # pictures of images of one class taken for one class
_MOST_PICTURED = 400  # images


def pack_classes(found: PassClasses) -> dict[str, Any] | None:
    """Pack the classes of one pass: labels and predictions as places in `classes`.

    Returns: the data for the page's script; None if there are more classes than two bytes number.
    """
    classes = np.union1d(found.labels, found.predictions)
    if len(classes) > np.iinfo(np.uint16).max + 1:
        return None
    kind = "<u1" if len(classes) <= np.iinfo(np.uint8).max + 1 else "<u2"
    is_counted = np.array_equal(found.image_ids, np.arange(len(found.image_ids)))
    return {
        "classes": [
            {"label": int(label), "name": found.names.get(int(label), str(label))}
            for label in classes
        ],
        "bytes": np.dtype(kind).itemsize,
        "labels": encode_array(np.searchsorted(classes, found.labels).astype(kind)),
        "predictions": encode_array(np.searchsorted(classes, found.predictions).astype(kind)),
        "image_ids": None if is_counted else encode_array(found.image_ids.astype("<i4")),
        "matrix_classes": MATRIX_CLASSES,
        "listed_classes": LISTED_CLASSES,
    }


def pictured_images(each: AllExitPass) -> Sequence[int]:
    """Return the images of which the matrix has pictures, at the page's initial thresholds.

    The first of each class taken for each class, wrong predictions and frequent ones first.
    """
    if each.answers is None or each.classes is None:
        return ()
    labels, exits = each.classes.labels, each.answers.exits_of(each.thresholds)
    predictions = each.classes.predictions[exits, np.arange(len(labels))]
    pairs, pair, counts = np.unique(
        np.stack([labels, predictions]), axis=1, return_inverse=True, return_counts=True
    )
    pair = pair.reshape(-1)  # numpy 2.0 keeps the axis
    by_pair = np.argsort(pair, kind="stable")
    starts = np.concatenate([[0], np.cumsum(counts)[:-1]])
    rank = np.empty(len(pair), np.int64)
    rank[by_pair] = np.arange(len(pair)) - np.repeat(starts, counts)
    is_right = pairs[0] == pairs[1]
    order = np.lexsort((rank, -counts[pair], is_right[pair]))
    chosen = order[rank[order] < _PER_PAIR][:_MOST_PICTURED]
    return [int(image_id) for image_id in each.classes.image_ids[chosen]]
