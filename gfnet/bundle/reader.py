"""Reads a bundle from a folder or a zip: manifest, digests, and the checks of its graphs."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from gfnet.bundle.errors import BundleError
from gfnet.bundle.files import MAX_BUNDLE_BYTES, MAX_GRAPH_BYTES, open_files, pack
from gfnet.bundle.fit import check_fit
from gfnet.bundle.manifest import MANIFEST_NAME, BundleManifest
from gfnet.bundle.manifest_text import MAX_MANIFEST_BYTES, read_bundle_manifest
from gfnet.bundle.stated_precision import precision_problem


@dataclass(frozen=True)
class Bundle:
    """A bundle whose files are those that its manifest lists.

    Attributes:
        where: its path, for messages.
        digest: SHA-256 of the manifest's canonical form, which holds the digests of all graphs: the
            bundle's identity, in a folder as in a zip.
        manifest: what it says.
        files: content by name, `manifest.json` first.
    """

    where: str
    digest: str
    manifest: BundleManifest
    files: Mapping[str, bytes]

    def packed(self) -> bytes:
        """Return it as a zip, always the same bytes."""
        return pack(dict(self.files))


def inspect_bundle(source: str | Path | bytes) -> Bundle:
    """Read a bundle and verify its manifest and digests; its graphs are not looked into.

    Needs neither torch nor onnx, so that a grid can be planned anywhere.

    Args:
        source: a folder, a zip, or the bytes of a zip.

    Raises:
        BundleError: it is not a bundle, or not whole.
    """
    where = "bundle" if isinstance(source, bytes) else str(source)
    parts = open_files(source, where)
    text = parts.read(MANIFEST_NAME, MAX_MANIFEST_BYTES)
    manifest, digest = read_bundle_manifest(text, where)
    check_fit(manifest, where)
    parts.check_listed([MANIFEST_NAME, *(graph.file for graph in manifest.graphs)])
    files, left = {MANIFEST_NAME: text}, MAX_BUNDLE_BYTES
    for graph in manifest.graphs:
        content = parts.read(graph.file, min(MAX_GRAPH_BYTES, left))
        left -= len(content)
        found = hashlib.sha256(content).hexdigest()
        if found != graph.sha256:
            raise BundleError(
                f"{where}: {graph.file}: its SHA-256 is {found}, but {MANIFEST_NAME} says"
                f" {graph.sha256}: the file was changed or damaged; export the bundle again"
            )
        files[graph.file] = content
    return Bundle(where, digest, manifest, files)


def load_bundle(source: str | Path | bytes) -> Bundle:
    """Read a bundle as `inspect_bundle` does, and check its graphs; nothing of them is run.

    Raises:
        BundleError: it is not a bundle, or a graph is not what a bundle may have.
    """
    from gfnet.bundle.graphs import check_graph  # needs onnx

    bundle = inspect_bundle(source)
    manifest, where = bundle.manifest, bundle.where
    graphs = [
        check_graph(bundle.files[each.file], each, manifest, where) for each in manifest.graphs
    ]
    if problem := precision_problem(frozenset().union(*graphs), manifest.precision):
        raise BundleError(f"{where}: {MANIFEST_NAME}: {problem}: figures would be under its name")
    return bundle
