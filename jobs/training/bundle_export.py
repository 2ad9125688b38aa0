"""Exports a checkpoint as a staged bundle: the user's settings, their checks, and the result."""

from __future__ import annotations

import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import gfnet
import storage
from gfnet.bundle.files import SUFFIX
from gfnet.bundle.manifest import MANIFEST_NAME
from gfnet.runtimes.availability import unavailable
from jobs.common.errors import UsageError
from jobs.common.yaml_document import suggest_near

if TYPE_CHECKING:
    from gfnet.bundle.comparison import BundleComparison
    from gfnet.bundle.reader import Bundle

IMAGES = 64
"""Scanned digits on which a bundle is compared with its checkpoint: real images, since random
noise takes one exit."""


@dataclass(frozen=True)
class Exporting:
    """A requested export.

    Attributes:
        source: path of a checkpoint, or name of a bundled one.
        output: the folder, or the zip if it ends in .gfbundle, to write.
        precision: of the graphs' matrix products.
        has_single: whether to add the graph that routes one image by itself.
        is_forced: whether a bundle that is there may be replaced.
    """

    source: str
    output: Path
    precision: str = "float32"
    has_single: bool = False
    is_forced: bool = False


@dataclass(frozen=True)
class Exported:
    """The result of an export: name and value of what the bundle has, and how it was checked."""

    facts: Sequence[tuple[str, object]]
    checks: Sequence[str]


def export_checkpoint(wanted: Exporting) -> Exported:
    """Export a checkpoint, compare the bundle with it, and write the bundle.

    Raises:
        CheckpointError: the checkpoint cannot be used.
        BundleError: the output is not to be replaced, or the bundle's answers are not the
            checkpoint's. Nothing was written then.
        UsageError: there is no such checkpoint, the output cannot be written, or a package is
            missing.
    """
    from gfnet.bundle.export import export_bundle, sample_images
    from gfnet.bundle.writer import check_writable, write_bundle

    if reason := unavailable("onnx", "float32", "cpu"):
        raise UsageError(f"export: {reason}")
    path = _locate_checkpoint(wanted.source)
    check_writable(wanted.output, is_forced=wanted.is_forced)
    info = gfnet.inspect_checkpoint(path)
    model = gfnet.load_checkpoint(path)
    encoded = storage.open_images("digits").read(range(IMAGES))["image"].to_pylist()
    exported = export_bundle(
        model,
        path.stem,
        sample_images(encoded, model.metadata.preprocessing),
        precision=wanted.precision,
        has_single=wanted.has_single,
        origin=f"checkpoint sha256:{info.sha256}",
    )
    try:
        write_bundle(exported.bundle, wanted.output)
    except OSError as err:
        raise UsageError(
            f"{err.filename or wanted.output} cannot be written: {err.strerror}; choose another"
            " with -o"
        ) from err
    return Exported(_facts(exported.bundle, wanted.output), _checks(exported.comparison))


def _locate_checkpoint(source: str) -> Path:
    """Return the file of a bundled name or a path.

    Raises:
        UsageError: it is neither; a bundle is not exported again.
    """
    bundled = gfnet.bundled()
    if source in bundled:
        return bundled[source]
    path = Path(source)
    allowed = (
        f"a bundled checkpoint ({', '.join(bundled)}), or the path of a .safetensors or .pth file"
    )
    try:
        is_folder = stat.S_ISDIR(path.stat().st_mode)
        is_bundle = path.suffix == SUFFIX or (is_folder and (path / MANIFEST_NAME).exists())
    except FileNotFoundError as err:
        near = suggest_near(source, bundled)
        raise UsageError(f"export {source!r}: there is no such file{near}; give {allowed}") from err
    except (OSError, ValueError) as err:  # ValueError: a NUL in the path
        why = getattr(err, "strerror", None) or err
        raise UsageError(f"export {source!r}: cannot be read: {why}; give {allowed}") from err
    if is_bundle:
        raise UsageError(
            f"export {source!r}: is a bundle already: name it in a grid as it is, or give {allowed}"
        )
    if is_folder:
        raise UsageError(f"export {source!r}: is a folder; give {allowed}")
    return path


def _facts(bundle: Bundle, output: Path) -> list[tuple[str, object]]:
    manifest = bundle.manifest
    return [
        ("name", manifest.name),
        ("stages", len(manifest.stages)),
        ("exit_blocks", list(manifest.exit_blocks) or None),
        ("exit_rule", manifest.exit_rule if manifest.exit_blocks else None),
        ("classes", manifest.classes),
        ("precision", manifest.precision),
        ("opset", manifest.opset),
        ("single", manifest.single.file if manifest.single else None),
        ("size", f"{sum(map(len, bundle.files.values())):,} bytes"),
        ("bundle", str(output)),
        ("digest", bundle.digest),
    ]


def _checks(found: BundleComparison) -> list[str]:
    logits = (
        f"compared with the checkpoint by ONNX Runtime on {found.images} scanned digits: largest"
        f" logit difference {found.logit_difference:.1e} (allowed {found.allowed:.1e})"
    )
    exits = (
        f"exits equal at the default thresholds and at medians of the scores, where images take"
        f" {found.exits} exits; left out: {found.near}, whose score lies at its threshold"
    )
    return [logits, exits] if found.exits > 1 else [logits]
