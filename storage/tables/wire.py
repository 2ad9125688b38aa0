"""The wire format: tables as bytes, and a checksum of encoded images."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

if TYPE_CHECKING:
    from collections.abc import Mapping


def pack_tables(tables: Mapping[str, pa.Table]) -> dict[str, bytes]:
    """Write each table as an Arrow stream."""
    packed = {}
    for name, table in tables.items():
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table)
        packed[name] = sink.getvalue().to_pybytes()
    return packed


def unpack_tables(packed: Mapping[str, bytes]) -> dict[str, pa.Table]:
    """Read what `pack_tables` wrote."""
    return {name: pa.ipc.open_stream(content).read_all() for name, content in packed.items()}


def image_digest(images: pa.Table) -> int:
    """Return a checksum of a shard of images, by value, so that buffer layout does not matter.

    A CRC-32: it detects accidents in transfer, and must cost less than the transfer itself.

    Args:
        images: as `ImageSet.read` returns them.
    """
    digest = 0
    for column in ("image_id", "label"):
        digest = zlib.crc32(np.asarray(images.column(column), dtype="<i8").tobytes(), digest)
    for chunk in images.column("image").chunks:
        for image in chunk:
            content = image.as_buffer()
            size = -1 if content is None else content.size
            digest = zlib.crc32(size.to_bytes(8, "little", signed=True), digest)
            digest = zlib.crc32(content or b"", digest)
    return digest
