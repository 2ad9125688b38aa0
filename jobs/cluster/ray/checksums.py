"""Checksums of what travels: images and weights to a worker, rows back from it.

Networks and stores check their own parts of the way; this checks all of it.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import storage
from jobs.common.errors import CorruptedError
from jobs.plan.task import Outcome


def check_weights(data: bytes, sha256: str) -> bytes:
    """A checkpoint's bytes, which must be those that were planned.

    Raises:
        CorruptedError: they are not.
    """
    found = hashlib.sha256(data).hexdigest()
    if found != sha256:
        raise CorruptedError(
            f"weights were corrupted on the way: sha256 {found[:12]}, sent {sha256[:12]}"
        )
    return data


def check_images(images: Any, digest: int) -> None:
    """See that a shard is what was sent.

    Args:
        images: its Arrow table.
        digest: `storage.image_digest` of it where it was sent.

    Raises:
        CorruptedError: it is not.
    """
    found = storage.image_digest(images)
    if found != digest:
        raise CorruptedError(
            f"images were corrupted on the way: check sum {found:08x}, sent {digest:08x}"
        )


@dataclass(frozen=True)
class Sealed:
    """An outcome on its way back.

    Attributes:
        outcome: all but its tables.
        tables: as bytes, by name.
        digest: check sum of these bytes.
    """

    outcome: Outcome
    tables: Mapping[str, bytes]
    digest: int


def seal_outcome(outcome: Outcome) -> Sealed:
    """Make an outcome ready to travel."""
    tables = storage.pack_tables(outcome.tables)
    return Sealed(replace(outcome, tables={}), tables, _digest(tables))


def open_outcome(sealed: Sealed) -> Outcome:
    """The outcome that arrived.

    Raises:
        CorruptedError: its rows are not those that were sent.
    """
    found = _digest(sealed.tables)
    if found != sealed.digest:
        raise CorruptedError(
            f"rows were corrupted on the way: check sum {found:08x}, sent {sealed.digest:08x}"
        )
    return replace(sealed.outcome, tables=storage.unpack_tables(sealed.tables))


def _digest(tables: Mapping[str, bytes]) -> int:
    digest = 0
    for name, content in tables.items():
        digest = zlib.crc32(content, zlib.crc32(name.encode(), digest))
    return digest
