"""Writes a bundle as a folder or a zip, whole or not at all."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

from gfnet.atomic import replace_file
from gfnet.bundle.errors import BundleError
from gfnet.bundle.files import SUFFIX
from gfnet.bundle.manifest import MANIFEST_NAME
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
    if not is_forced:
        raise BundleError(f"{path} already exists and is not empty; add --force to replace it")
    _check_only_a_bundle(path)


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
