"""Reads a bundle from a folder or a zip: manifest, digests, and the checks of its graphs."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from gfnet.bundle.errors import BundleError
from gfnet.bundle.files import MAX_BUNDLE_BYTES, MAX_GRAPH_BYTES, BundleFiles, open_files, pack
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


@dataclass(frozen=True)
class BundleInfo:
    """What is known of a bundle without its graphs; where, digest and manifest as of `Bundle`.

    Attributes:
        size_bytes: of all its files together, unpacked.
    """

    where: str
    digest: str
    manifest: BundleManifest
    size_bytes: int


def inspect_bundle(source: str | Path | bytes) -> Bundle:
    """Read a bundle and verify its manifest and digests; its graphs are not looked into.

    Needs neither torch nor onnx, so that a grid can be planned anywhere.

    Args:
        source: a folder, a zip, or the bytes of a zip.

    Raises:
        BundleError: it is not a bundle, or not whole.
    """
    where = "bundle" if isinstance(source, bytes) else str(source)
    with open_files(source, where) as parts:
        text, manifest, digest = _read_manifest(parts, where)
        graphs = _read_graphs(parts, manifest, where)
    return Bundle(where, digest, manifest, {MANIFEST_NAME: text} | graphs)


def inspect_manifest(path: str | Path, digest: str | None = None) -> BundleInfo:
    """Read a bundle as `inspect_bundle` does, but keep no graph.

    Args:
        path: a folder or a zip.
        digest: the bundle's, if its files are known not to have changed since it was verified;
            if it still is the manifest's, no graph is read.

    Raises:
        BundleError: it is not a bundle, or not whole.
    """
    where = str(path)
    with open_files(path, where) as parts:
        text, manifest, found = _read_manifest(parts, where)
        size_bytes = len(text)
        if found == digest:
            for graph in manifest.graphs:
                size_bytes += parts.size_bytes(graph.file, MAX_GRAPH_BYTES)
        else:
            size_bytes += sum(map(len, _read_graphs(parts, manifest, where).values()))
    return BundleInfo(where, found, manifest, size_bytes)


def _read_manifest(parts: BundleFiles, where: str) -> tuple[bytes, BundleManifest, str]:
    """Return the manifest, as text too, and its digest."""
    text = parts.read(MANIFEST_NAME, MAX_MANIFEST_BYTES)
    manifest, digest = read_bundle_manifest(text, where)
    check_fit(manifest, where)
    parts.check_listed([MANIFEST_NAME, *(graph.file for graph in manifest.graphs)])
    return text, manifest, digest


def _read_graphs(parts: BundleFiles, manifest: BundleManifest, where: str) -> dict[str, bytes]:
    """Read all graphs, each with the digest that the manifest says."""
    graphs, left = {}, MAX_BUNDLE_BYTES
    for graph in manifest.graphs:
        content = parts.read(graph.file, min(MAX_GRAPH_BYTES, left))
        left -= len(content)
        found = hashlib.sha256(content).hexdigest()
        if found != graph.sha256:
            raise BundleError(
                f"{where}: {graph.file}: its SHA-256 is {found}, but {MANIFEST_NAME} says"
                f" {graph.sha256}: the file was changed or damaged; export the bundle again"
            )
        graphs[graph.file] = content
    return graphs


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
