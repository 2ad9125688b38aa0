"""Models of a grid: turns names and paths into verified checkpoints and bundles."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import gfnet
import storage
from gfnet.bundle.description import (
    BundleConfig,
    BundleExitCost,
    BundleMetadata,
    describe_bundle,
    sum_stage_costs,
)
from gfnet.bundle.files import SUFFIX
from gfnet.bundle.manifest import MANIFEST_NAME, BundleManifest
from gfnet.costs import ExitCost, count_exit_costs
from jobs.common.yaml_document import Value, suggest_near

KEYS = {
    "name": "Its name in rows. Default: the bundled name, or the file's name.",
    "checkpoint": "A bundled name, or the path of a checkpoint or a bundle.",
    "exit_blocks": "Blocks, counted from 0, after which images may exit; `[]`: none. Default: all"
    " exits that the checkpoint has.",
}
GATE = "gate"
"""The exit rule of a model with gates unless the grid says otherwise."""

SUFFIXES = (".safetensors", ".pth", ".pt", SUFFIX)


@dataclass(frozen=True)
class Model:
    """One value of the grid's model axis.

    Attributes:
        name: its name in rows.
        path: its checkpoint, or its bundle.
        sha256: of the checkpoint's content; of a bundle its digest.
        size_bytes: of the checkpoint's file, or of all files of a bundle.
        metadata: of the checkpoint or bundle, with the exits that the grid chose.
        exit_rule: of gfnet.EXIT_RULES, by which its images exit; any if it has no exits.
    """

    name: str
    path: Path
    sha256: str
    size_bytes: int
    metadata: gfnet.Metadata | BundleMetadata
    exit_rule: str

    @property
    def config(self) -> gfnet.ModelConfig | BundleConfig:
        """Its sizes and exits."""
        return self.metadata.config

    @property
    def graph_precision(self) -> str | None:
        """The precision of its graphs, if it is a bundle; None for a checkpoint."""
        return None

    @cached_property
    def preprocessing(self) -> dict[str, Any]:
        """Preprocessing of its images as JSON; it is part of the identity of each of its cells."""
        return self.metadata.preprocessing.to_json()

    @cached_property
    def exit_costs(self) -> tuple[ExitCost, ...] | tuple[BundleExitCost, ...]:
        """What one image costs up to each exit."""
        raise NotImplementedError

    @property
    def gates(self) -> int:
        """Number of exits with a gate; 0 for a static model."""
        return len(self.config.exit_blocks)

    def under(self, rule: str) -> Model:
        """Return the model under an exit rule: another model to everything that follows."""
        name = self.name if rule == self.config.default_rule else f"{self.name}@{rule}"
        return replace(self, name=name, exit_rule=rule)

    @property
    def name_in_grid(self) -> str:
        """Its name without the exit rule."""
        is_default = self.exit_rule == self.config.default_rule
        return self.name if is_default else self.name.rpartition("@")[0]


@dataclass(frozen=True)
class CheckpointModel(Model):
    """A model whose weights are a checkpoint; attributes as of `Model`."""

    metadata: gfnet.Metadata

    @property
    def config(self) -> gfnet.ModelConfig:
        """Its family and sizes."""
        return self.metadata.config

    @cached_property
    def exit_costs(self) -> tuple[ExitCost, ...]:
        """What one image costs up to each exit."""
        return count_exit_costs(self.config, self.exit_rule)


@dataclass(frozen=True)
class StagedModel(Model):
    """A model that is a bundle; other attributes as of `Model`.

    Attributes:
        manifest: of the bundle.
    """

    metadata: BundleMetadata
    manifest: BundleManifest

    @property
    def graph_precision(self) -> str:
        """The precision of its graphs."""
        return self.manifest.precision

    @cached_property
    def exit_costs(self) -> tuple[BundleExitCost, ...]:
        """What one image costs up to each exit, as far as the bundle says."""
        return sum_stage_costs(self.manifest, self.config.exit_blocks)


def read_model(value: Value, base: Path) -> Model | None:
    """Read one entry of `models`: a bundled name, a path of a file or bundle, or a mapping of KEYS.

    Returns: None if a problem was recorded.
    """
    if not value.is_mapping:
        text = value.text()
        return _open(value, text, None, base, None) if text else None
    entries = value.mapping(KEYS, required=("checkpoint",))
    checkpoint = entries.get("checkpoint")
    if checkpoint is None or not (text := checkpoint.text()):
        return None
    name = entries["name"].text() if "name" in entries else None
    exits = None
    if "exit_blocks" in entries:
        listed = entries["exit_blocks"]
        is_empty = listed.is_list and not listed.node.value  # no exits at all: full depth
        exits = () if is_empty else tuple(item.whole(0) for item in listed.items())
    return _open(checkpoint, text, name, base, exits)


def _open(
    value: Value, text: str, name: str | None, base: Path, exits: tuple[int, ...] | None
) -> Model | None:
    path = _locate(value, text, base)
    if path is None:
        return None
    if path.is_dir() or path.suffix == SUFFIX:
        return _open_bundle(value, path, name, exits)
    try:
        info = _inspect(path)
        metadata = gfnet.with_exits(info.metadata, exits, text)
    except (gfnet.CheckpointError, OSError) as err:
        value.problem(str(err), "a GFNet checkpoint, .safetensors or .pth")
        return None
    rule = metadata.config.default_rule
    named = name or path.stem
    return CheckpointModel(named, path, info.sha256, info.size_bytes, metadata, rule)


def _open_bundle(
    value: Value, path: Path, name: str | None, exits: tuple[int, ...] | None
) -> Model | None:
    try:
        info = _inspect_staged(path)
        metadata = describe_bundle(info.manifest, exits, info.where)
    except (gfnet.BundleError, OSError) as err:
        value.problem(str(err), f"a staged bundle: a folder with {MANIFEST_NAME}, or its {SUFFIX}")
        return None
    rule = metadata.config.default_rule
    named = name or (path.name if path.is_dir() else path.stem)
    return StagedModel(named, path, info.digest, info.size_bytes, metadata, rule, info.manifest)


def _inspect(path: Path) -> gfnet.CheckpointInfo:
    """Inspect a checkpoint; only its header is read if its digest is cached."""
    state = storage.state_of_file(path)
    known = storage.known_digest("checkpoint", path, state)
    info = gfnet.inspect_checkpoint(path, known)
    if known is None and state == storage.state_of_file(path):
        storage.keep_digest("checkpoint", path, state, info.sha256)
    return info


def _inspect_staged(path: Path) -> gfnet.BundleInfo:
    """Inspect a bundle; only its manifest is read if its digest is cached."""
    state_of = storage.state_of_folder if path.is_dir() else storage.state_of_file
    state = state_of(path)
    known = storage.known_digest("bundle", path, state)
    info = gfnet.inspect_manifest(path, known)
    if info.digest != known and state == state_of(path):
        storage.keep_digest("bundle", path, state, info.digest)
    return info


def _locate(value: Value, text: str, base: Path) -> Path | None:
    """Find the file of a name or path: bundled, else from `base`, else from the working folder.

    A folder is a bundle; a name without a slash may be one too, if it has a manifest.
    """
    bundled = gfnet.bundled()
    if text in bundled:
        return bundled[text]
    places = list(dict.fromkeys([base / text, Path(text).absolute()]))
    is_path = "/" in text or text.endswith(SUFFIXES)
    others = []
    for place in places:
        with contextlib.suppress(OSError, ValueError):  # not a valid file name
            is_folder = place.is_dir() and (is_path or (place / MANIFEST_NAME).exists())
            if is_folder or (is_path and place.is_file()):
                return place
            others += [place] if place.exists() else []
    if not is_path and others:
        value.problem(
            f"model {text!r}: {others[0]} is not named as a checkpoint or a bundle",
            f"a file that ends in {', '.join(SUFFIXES)}, or a folder with {MANIFEST_NAME}",
        )
    elif not is_path:
        value.problem(
            f"unknown model {text!r}{suggest_near(text, bundled)}",
            f"a bundled checkpoint ({', '.join(bundled)}), or the path of a .safetensors or .pth"
            " file, or of a bundle",
        )
    else:
        looked = " and ".join(str(place) for place in places)
        value.problem(
            f"no such checkpoint or bundle: {text!r}",
            f"an existing file or folder; looked at {looked}",
        )
    return None
