"""What is checked of images, weights and rows on their way."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import numpy as np
import pytest
from support import bundles

import gfnet
import storage
from jobs.cluster.ray.checksums import check_images, check_weights, open_outcome, seal_outcome
from jobs.common.errors import CorruptedError
from jobs.plan.task import Outcome

DIGITS = storage.open_images("digits", "test")


def test_weights_are_held_against_their_digest() -> None:
    """One bit is enough."""
    data = bytes(range(256)) * 100
    sha256 = hashlib.sha256(data).hexdigest()
    assert check_weights(data, sha256) == data
    with pytest.raises(CorruptedError, match="weights were corrupted in transfer"):
        check_weights(data[:-1] + b"\xfe", sha256)


def test_a_bundle_is_held_against_its_digest() -> None:
    """Not the zip's, but that of its manifest, and each graph against that."""
    data = bundles.zipped(bundles.files())
    digest = gfnet.inspect_bundle(data).digest
    assert check_weights(data, digest, is_bundle=True) == data
    for at in (data.index(b"MatMul"), len(data) - 1):
        spoiled = data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]
        with pytest.raises(CorruptedError, match="weights were corrupted in transfer"):
            check_weights(spoiled, digest, is_bundle=True)
    other = bundles.zipped(bundles.files(name="other"))
    with pytest.raises(CorruptedError, match=f"sent {digest[:12]}"):
        check_weights(other, digest, is_bundle=True)


def test_images_are_held_against_their_check_sum() -> None:
    """Bytes, labels and order; however the table's buffers are laid out."""
    images = DIGITS.read(range(50))
    digest = storage.image_digest(images)
    check_images(images, digest)
    check_images(DIGITS.read(range(80)).slice(0, 50), digest)
    check_images(images.slice(0, 0).schema.empty_table(), storage.image_digest(images.slice(0, 0)))
    shorter = images.slice(0, 49)
    turned = images.take(np.arange(50)[::-1])
    flipped = images.to_pydict()
    flipped["image"][7] = flipped["image"][7][:-1] + b"\0"
    relabelled = images.to_pydict()
    relabelled["label"][7] += 1
    missing = images.to_pydict()
    missing["image"][7] = None
    made = [type(images).from_pydict(one, images.schema) for one in (flipped, relabelled, missing)]
    for other in (shorter, turned, *made):
        with pytest.raises(CorruptedError, match="images were corrupted in transfer"):
            check_images(other, digest)


def test_rows_come_back_as_they_were() -> None:
    """Also of no table at all."""
    columns = {"run_id": "r", "cell_id": "c", "image_id": [1, 2], "exit_block": 3}
    table = storage.build_table("exits", columns)
    outcome = Outcome({"exits": table}, None, images=2, note="n")
    back = open_outcome(seal_outcome(outcome))
    assert back.tables["exits"].equals(table)
    assert back.tables["exits"].schema.equals(table.schema, check_metadata=True)
    assert replace(back, tables={}) == replace(outcome, tables={})
    assert open_outcome(seal_outcome(Outcome({}, None, error="e"))) == Outcome({}, None, error="e")


def test_rows_that_changed_on_the_way_are_refused() -> None:
    """A bit in the middle of a table."""
    columns = {"run_id": "r", "cell_id": "c", "image_id": list(range(100)), "exit_block": 3}
    sealed = seal_outcome(
        Outcome({"exits": storage.build_table("exits", columns)}, None, images=100)
    )
    content = bytearray(sealed.tables["exits"])
    content[len(content) // 2] ^= 1
    with pytest.raises(CorruptedError, match="rows were corrupted in transfer"):
        open_outcome(replace(sealed, tables={"exits": bytes(content)}))
