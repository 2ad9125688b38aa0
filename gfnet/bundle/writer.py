"""Writes a bundle as a folder or a zip, whole or not at all."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from gfnet.atomic import replace_file
from gfnet.bundle.errors import BundleError
from gfnet.bundle.files import SUFFIX, pack
from gfnet.bundle.manifest import MANIFEST_NAME
from gfnet.bundle.manifest_text import write_bundle_manifest
from gfnet.bundle.reader import Bundle, inspect_bundle


def check_writable(path: Path, *, is_forced: bool) -> None:
    """Check, before the work, that a bundle may be written there.

    Raises:
        BundleError: something is there that is not to be replaced.
    """
    if not path.exists() and not path.is_symlink():
        return
    if path.suffix == SUFFIX:
        if path.is_dir():
            raise BundleError(
                f"{path} is a folder; choose another name with -o, or remove it first"
            )
        if not is_forced:
            raise BundleError(f"{path} already exists; add --force to replace it")
        return
    if not path.is_dir():
        raise BundleError(
            f"{path} is a file; give a folder, or a name that ends in {SUFFIX} for a zip"
        )
    if path.is_symlink() or not any(path.iterdir()):
        return
    _check_only_a_bundle(path)
    if not is_forced:
        raise BundleError(f"{path} already holds a bundle; add --force to replace it")


def _check_only_a_bundle(path: Path) -> None:
    """Check that replacing a folder loses nothing but a bundle."""
    try:
        listed = set(inspect_bundle(path).files)
    except BundleError as err:
        raise BundleError(f"{path} is not a bundle, and is not replaced: {err}") from err
    if others := sorted(each.name for each in path.iterdir() if each.name not in listed):
        raise BundleError(
            f"{path} also holds {', '.join(others[:9])}; move that away, or choose another folder"
        )


def write_bundle(bundle: Bundle, path: Path) -> None:
    """Write a bundle; what `check_writable` accepts is replaced.

    Args:
        bundle: what to write.
        path: of the zip, if it ends in SUFFIX, else of the folder.

    Raises:
        OSError: it cannot be written; nothing is left behind.
    """
    path = Path(os.path.realpath(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == SUFFIX:
        replace_file(path, bundle.packed())
        return
    temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent))
    try:
        temporary.chmod(0o777 & ~_umask())
        for name, content in bundle.files.items():
            with (temporary / name).open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
        _take_place(temporary, path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def save_bundle_thresholds(source: Path, path: Path, thresholds: Sequence[float]) -> None:
    """Write a copy of a bundle with new default thresholds, as a zip; its graphs stay.

    Args:
        source: the bundle.
        path: of the zip. An existing one, the source included, is replaced only if it has these
            graphs.
        thresholds: one per early exit, or +inf: no image exits there.

    Raises:
        BundleError: the source cannot be used, the thresholds are not its exits', or something
            else is at `path`.
        OSError: it cannot be written.
    """
    if path.suffix != SUFFIX:
        raise BundleError(f"{path}: a bundle is written as a zip; choose a name in {SUFFIX}")
    bundle = inspect_bundle(source)
    manifest = replace(bundle.manifest, thresholds=tuple(thresholds))
    files = dict(bundle.files) | {MANIFEST_NAME: write_bundle_manifest(manifest)}
    changed = inspect_bundle(pack(files))
    if path.exists():
        check_writable(path, is_forced=True)
        graphs = [{graph.sha256 for graph in each.manifest.graphs} for each in _readable(path)]
        if graphs != [{graph.sha256 for graph in manifest.graphs}]:
            raise BundleError(
                f"{path} already exists, and is not a bundle with these graphs; choose another"
                " name, or remove it first"
            )
    write_bundle(changed, path)


def _readable(path: Path) -> list[Bundle]:
    try:
        return [inspect_bundle(path)]
    except BundleError:
        return []


def _take_place(temporary: Path, path: Path) -> None:
    """Give a folder its name; that of an older bundle is emptied last, its manifest first."""
    if path.exists():
        (path / MANIFEST_NAME).unlink(missing_ok=True)  # from here on it is no bundle
        shutil.rmtree(path)
    temporary.rename(path)


def _umask() -> int:
    """Return the mask of new files, which can only be read by setting it."""
    mask = os.umask(0)
    os.umask(mask)
    return mask
