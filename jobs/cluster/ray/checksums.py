"""Checksums of transferred data: images and weights to a worker, rows back from it.

Networks and stores check only their own part of the transfer; these checksums cover all of it.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import gfnet
import storage
from gfnet.tensors import Buffer
from jobs.common.errors import CorruptedError
from jobs.plan.task import Outcome


def check_weights(content: Buffer, sha256: str, *, is_bundle: bool = False) -> Buffer:
    """Return a checkpoint without a copy, or a bundle's zip, if it has the planned digest.

    Raises:
        CorruptedError: they have another.
    """
    try:
        if is_bundle:
            content = bytes(content)
            found = gfnet.inspect_bundle(content).digest
        else:
            found = hashlib.sha256(content).hexdigest()
    except gfnet.BundleError as err:
        raise CorruptedError(f"weights were corrupted in transfer: {err}") from err
    if found != sha256:
        raise CorruptedError(
            f"weights were corrupted in transfer: sha256 {found[:12]}, sent {sha256[:12]}"
        )
    return content


def check_images(images: Any, digest: int) -> None:
    """Check that a shard arrived as it was sent.

    Args:
        images: its Arrow table.
        digest: its `storage.image_digest`, computed by the sender.

    Raises:
        CorruptedError: it differs.
    """
    found = storage.image_digest(images)
    if found != digest:
        raise CorruptedError(
            f"images were corrupted in transfer: checksum {found:08x}, sent {digest:08x}"
        )


@dataclass(frozen=True)
class Sealed:
    """An outcome in its wire format.

    Attributes:
        outcome: all of it except its tables.
        tables: as bytes, by name.
        digest: checksum of these bytes.
    """

    outcome: Outcome
    tables: Mapping[str, bytes]
    digest: int


def seal_outcome(outcome: Outcome) -> Sealed:
    """Pack an outcome for the transfer, with a checksum."""
    tables = storage.pack_tables(outcome.tables)
    return Sealed(replace(outcome, tables={}), tables, _digest(tables))


def open_outcome(sealed: Sealed) -> Outcome:
    """Check and unpack an outcome after the transfer.

    Raises:
        CorruptedError: its rows differ from those that were sent.
    """
    found = _digest(sealed.tables)
    if found != sealed.digest:
        raise CorruptedError(
            f"rows were corrupted in transfer: checksum {found:08x}, sent {sealed.digest:08x}"
        )
    return replace(sealed.outcome, tables=storage.unpack_tables(sealed.tables))


def _digest(tables: Mapping[str, bytes]) -> int:
    digest = 0
    for name, content in tables.items():
        digest = zlib.crc32(content, zlib.crc32(name.encode(), digest))
    return digest
