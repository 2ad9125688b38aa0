"""Reads and writes `manifest.json`, and takes the digest that identifies a bundle."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from gfnet.bundle.errors import BundleError
from gfnet.bundle.manifest import (
    MANIFEST_FORMAT,
    MANIFEST_NAME,
    NEVER,
    BundleManifest,
    SingleEntry,
    StageEntry,
    TensorEntry,
)
from gfnet.bundle.schema import check_schema
from gfnet.bundle.strict_json import canonical_bytes, read_json
from gfnet.preprocess import Preprocessing

MAX_MANIFEST_BYTES = 2**22


def write_bundle_manifest(manifest: BundleManifest) -> bytes:
    """Return the text of `manifest.json`, always the same for the same manifest."""
    return (json.dumps(manifest.to_json(), indent=1, allow_nan=False) + "\n").encode()


def read_bundle_manifest(data: bytes, where: str) -> tuple[BundleManifest, str]:
    """Read a manifest, and the digest of the bundle.

    Args:
        data: content of `manifest.json`.
        where: names the bundle in messages.

    Returns: the manifest, and the SHA-256 of its canonical form, which covers all graphs.

    Raises:
        BundleError: it is not a manifest of this format.
    """
    file = f"{where}: {MANIFEST_NAME}"
    document = read_json(data, file)
    version = document.get("format") if isinstance(document, dict) else None
    if type(version) is int and version > MANIFEST_FORMAT:
        raise BundleError(
            f"{file}: format {version} is newer than {MANIFEST_FORMAT}, which this version reads:"
            " install a newer gfjobs, or export the bundle again with this one"
        )
    check_schema(document, file)
    try:
        preprocessing = Preprocessing.from_json(_whole(document["preprocessing"]))
    except ValueError as err:
        raise BundleError(f"{file}: {err}") from err
    thresholds = document.get("thresholds", [])
    manifest = BundleManifest(
        name=document["name"],
        preprocessing=preprocessing,
        classes=int(document["classes"]),
        exit_rule=document["exit_rule"],
        precision=document["precision"],
        opset=int(document["opset"]),
        stages=tuple(map(_stage, document["stages"])),
        class_names=tuple(document.get("class_names", [])),
        thresholds=tuple(math.inf if limit == NEVER else float(limit) for limit in thresholds),
        single=_single(document["single"]) if document.get("single") else None,
        origin=document.get("origin", ""),
    )
    return manifest, hashlib.sha256(canonical_bytes(document)).hexdigest()


def _whole(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields with 32.0, which the schema takes for a whole number, as 32."""
    return {key: int(each) if key in {"size", "crop"} else each for key, each in fields.items()}


def _tensor(fields: Mapping[str, Any]) -> TensorEntry:
    shape = tuple(size if isinstance(size, str) else int(size) for size in fields["shape"])
    return TensorEntry(fields["name"], fields["dtype"], shape)


def _tensors(entries: Sequence[Mapping[str, Any]]) -> tuple[TensorEntry, ...]:
    return tuple(map(_tensor, entries))


def _stage(fields: Mapping[str, Any]) -> StageEntry:
    counts = (fields.get("multiply_adds"), fields.get("parameters"))
    return StageEntry(
        fields["file"],
        fields["sha256"],
        int(fields["exit_block"]),
        _tensors(fields["inputs"]),
        _tensors(fields["state"]),
        _tensor(fields["logits"]),
        _tensor(fields["score"]) if fields.get("score") else None,
        *(None if count is None else int(count) for count in counts),
    )


def _single(fields: Mapping[str, Any]) -> SingleEntry:
    return SingleEntry(
        fields["file"],
        fields["sha256"],
        _tensor(fields["image"]),
        _tensors(fields["thresholds"]),
        _tensor(fields["logits"]),
        _tensor(fields["exit_block"]),
        _tensor(fields["score"]),
    )
