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
from gfnet.preprocess import prepare_images
from gfnet.runtimes.availability import CALIBRATION_IMAGES, unavailable
from jobs.common.errors import UsageError
from jobs.common.yaml_document import suggest_near
from jobs.grid.calibration import open_calibration
from jobs.grid.grid import INT8
from jobs.plan.sources import shuffle_images

if TYPE_CHECKING:
    from gfnet.bundle.comparison import BundleComparison
    from gfnet.bundle.reader import Bundle
    from gfnet.runtimes.int8 import CalibrationImages

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
        calibration: name of the data set from whose training images the ranges of int8 are taken.
        calibration_images: how many of them.
        has_single: whether to add the graph that routes one image by itself.
        is_forced: whether a bundle that is there may be replaced.
    """

    source: str
    output: Path
    precision: str = "float32"
    calibration: str | None = None
    calibration_images: int = CALIBRATION_IMAGES
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
        UsageError: there is no such checkpoint, the output cannot be written, a package is missing,
            or int8 has no images to calibrate on.
    """
    from gfnet.bundle.export import export_bundle
    from gfnet.bundle.writer import check_writable, write_bundle

    if reason := unavailable("onnx", "float32", "cpu"):
        raise UsageError(f"export: {reason}")
    path = _locate_checkpoint(wanted.source)
    check_writable(wanted.output, is_forced=wanted.is_forced)
    info = gfnet.inspect_checkpoint(path)
    model = gfnet.load_checkpoint(path)
    preprocessing = model.metadata.preprocessing
    calibration = _calibration(wanted, preprocessing)
    encoded = storage.open_images("digits").read(range(IMAGES))["image"].to_pylist()
    exported = export_bundle(
        model,
        path.stem,
        prepare_images(encoded, preprocessing),
        precision=wanted.precision,
        has_single=wanted.has_single,
        origin=_origin(info.sha256, calibration),
        calibration=calibration,
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


def _calibration(wanted: Exporting, preprocessing: gfnet.Preprocessing) -> CalibrationImages | None:
    from gfnet.runtimes.int8 import CalibrationImages

    if wanted.precision != INT8:
        if wanted.calibration is not None:
            raise UsageError(
                f"--calibration {wanted.calibration}: only int8 is calibrated, not"
                f" {wanted.precision}: add --precision int8, or leave it out"
            )
        return None
    if wanted.calibration is None:
        raise UsageError(
            "int8 takes its ranges from training images: name a data set that has a split train,"
            " as --calibration digits, cifar10, imagefolder:PATH or parquet:PATH"
        )
    try:
        found = open_calibration(wanted.calibration, wanted.calibration_images)
    except storage.DatasetError as err:
        raise UsageError(f"--calibration {wanted.calibration}: {err}") from err
    images = found.images
    ids = shuffle_images(len(images))[: found.count]
    return CalibrationImages(
        f"{found.count} of {images.sha256}",
        lambda: images.read(ids).column("image").to_pylist(),
        preprocessing,
    )


def _origin(checkpoint_sha256: str, calibration: CalibrationImages | None) -> str:
    origin = f"checkpoint sha256:{checkpoint_sha256}"
    return f"{origin}; int8 by {calibration.name}" if calibration else origin


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
        f"{_exits(found)} at the default thresholds and at medians of the scores, where images take"
        f" {found.exits} exits; left out: {found.near}, whose score lies at its threshold"
    )
    return [logits, exits] if found.exits > 1 else [logits]


def _exits(found: BundleComparison) -> str:
    if not found.moved:
        return "exits equal"
    return f"{found.moved} of {2 * found.images} exits differ"
