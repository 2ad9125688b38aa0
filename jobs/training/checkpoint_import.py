"""Imports a foreign checkpoint: the user's settings, their checks, and the result."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import gfnet
from jobs.common.errors import UsageError
from jobs.common.files import describe_undecodable, read_regular

if TYPE_CHECKING:
    from gfnet.convert import ImportChanges

SUFFIX = ".safetensors"
_MAX_CLASSES_BYTES = 16 * 2**20


@dataclass(frozen=True)
class Importing:
    """A requested import.

    Attributes:
        source: the file to import.
        output: the checkpoint to write.
        img_size, filter_grid, exit_blocks: as `gfnet.convert.ImportChanges`.
        class_names: one a class, or none; none: those of the file, if it says any.
        resize: the shorter side after resizing, pixels; None: as the file says or, where it says
            nothing, as its family was published.
        interpolation, mean, std, exif: of the preprocessing; None: likewise.
        is_forced: whether an output that is there may be replaced.
    """

    source: Path
    output: Path
    img_size: int | None = None
    filter_grid: tuple[int, ...] = ()
    exit_blocks: tuple[int, ...] | None = None
    class_names: tuple[str, ...] = ()
    resize: int | None = None
    interpolation: str | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    exif: str | None = None
    is_forced: bool = False

    def changes(self) -> ImportChanges:
        """The part of the request that the model core needs."""
        from gfnet.convert import ImportChanges

        return ImportChanges(self.img_size, self.filter_grid, self.exit_blocks)


@dataclass(frozen=True)
class Imported:
    """The result of an import.

    Attributes:
        facts: name and value of everything that was inferred or assumed.
        notes: changes made to names and tensors.
    """

    facts: Sequence[tuple[str, object]]
    notes: Sequence[str]


def import_checkpoint(wanted: Importing) -> Imported:
    """Convert a file and write the checkpoint, in one step.

    Raises:
        CheckpointError: the file cannot be imported.
        UsageError: the output already exists or cannot be written, or a setting does not fit the
            model. Nothing was written then.
    """
    from gfnet.convert import convert

    if wanted.output.suffix != SUFFIX:
        raise UsageError(
            f"-o {wanted.output}: checkpoints are written as safetensors; give a path that ends in"
            f" {SUFFIX}"
        )
    if wanted.output.exists() and not wanted.is_forced:
        raise UsageError(
            f"{wanted.output} already exists; add --force to replace it, or choose another with -o"
        )
    converted = convert(wanted.source, wanted.changes())
    found = converted.model.metadata
    config = found.config
    names = wanted.class_names
    if len(names) not in {0, config.num_classes}:
        raise UsageError(
            f"--classes names {len(names)} classes, but {wanted.source} has {config.num_classes}"
        )
    origin = {"imported": wanted.source.name, "sha256": _sha256(wanted.source)}
    metadata = replace(
        found,
        preprocessing=_preprocessing(wanted, found.preprocessing),
        class_names=names or found.class_names,
        training=dict(found.training) | origin,
    )
    try:
        wanted.output.parent.mkdir(parents=True, exist_ok=True)
        gfnet.save_checkpoint(converted.model, wanted.output, metadata)
    except OSError as err:
        raise UsageError(
            f"{err.filename or wanted.output} cannot be written: {err.strerror}; choose another"
            " with -o"
        ) from err
    return Imported(_facts(metadata, wanted), converted.notes)


def read_classes(text: str) -> tuple[str, ...]:
    """Reads class names in label order: a comma-separated list, or a file with one per line.

    Raises:
        UsageError: the file cannot be read, or a name stands there twice; of a file, which may be
            a private one, the message has the lines and not the names.
    """
    if "," in text:
        names = [name.strip() for name in text.split(",")]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise UsageError(
                f"--classes names a class twice: {', '.join(twice)}; each has one label"
            )
        return tuple(names)
    try:
        lines = read_regular(Path(text), _MAX_CLASSES_BYTES).splitlines()
    except (OSError, ValueError) as err:  # ValueError: not UTF-8, or a NUL in the path
        why = getattr(err, "strerror", None) or str(err)
        why = describe_undecodable(err) if isinstance(err, UnicodeDecodeError) else why
        raise UsageError(
            f"--classes {text}: not a comma-separated list, and not a file that can be read: {why}"
        ) from err
    first: dict[str, int] = {}
    for number, name in enumerate(map(str.strip, lines), start=1):
        if name and first.setdefault(name, number) != number:
            raise UsageError(
                f"--classes {text} names a class twice, in lines {first[name]} and {number}; each"
                " has one label"
            )
    return tuple(first)


def _preprocessing(wanted: Importing, found: gfnet.Preprocessing) -> gfnet.Preprocessing:
    try:
        return gfnet.Preprocessing(
            size=wanted.resize or found.size,
            crop=found.crop,
            interpolation=wanted.interpolation or found.interpolation,
            mean=wanted.mean or found.mean,
            std=wanted.std or found.std,
            exif=wanted.exif or found.exif,
        )
    except ValueError as err:
        raise UsageError(str(err)) from err


def _facts(metadata: gfnet.Metadata, wanted: Importing) -> list[tuple[str, object]]:
    config, prepared = metadata.config, metadata.preprocessing
    return [
        ("family", config.family),
        ("image", f"{config.img_size} px, patches of {config.patch_size} px"),
        ("embed_dim", ", ".join(str(level.dim) for level in config.levels)),
        ("depth", f"{' + '.join(map(str, config.depths or (config.depth,)))} blocks"),
        ("tokens", _tokens(config)),
        ("exit_blocks", list(config.exit_blocks) or None),
        ("classes", _classes(metadata)),
        ("params", config.parameters()),
        ("resize, crop", f"{prepared.size}, {prepared.crop} px, {prepared.interpolation}"),
        ("exif", prepared.exif),
        ("mean", list(prepared.mean)),
        ("std", list(prepared.std)),
        ("checkpoint", str(wanted.output)),
        ("sha256", _sha256(wanted.output)),
    ]


def _tokens(config: gfnet.ModelConfig) -> str:
    """Number of tokens and their grid; of a hierarchical model, of each stage."""
    between = " as " if config.is_hierarchical else ", viewed as "  # short, for four stages
    return "; ".join(
        f"{level.tokens_shape[0]}{between}{level.grid[0]} x {level.grid[1]}"
        for level in config.levels
    )


def _classes(metadata: gfnet.Metadata) -> str:
    names = metadata.class_names
    named = f"{names[0]} to {names[-1]}" if names else "without names"
    return f"{metadata.config.num_classes}, {named}"


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
