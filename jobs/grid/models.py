"""Models of a grid: turns names and paths into verified checkpoints."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import gfnet
import storage
from gfnet.costs import ExitCost, count_exit_costs
from jobs.common.yaml_document import Value, suggest_near

KEYS = ("name", "checkpoint", "exit_blocks")
GATE = "gate"
"""The exit rule of a model with gates unless the grid says otherwise."""

SUFFIXES = (".safetensors", ".pth", ".pt")


@dataclass(frozen=True)
class Model:
    """One value of the grid's model axis.

    Attributes:
        name: its name in rows.
        path: its checkpoint.
        sha256: of the checkpoint's content.
        size_bytes: of the checkpoint's file.
        metadata: of the checkpoint, with the exits that the grid chose.
        exit_rule: of gfnet.EXIT_RULES, by which its images exit; any if it has no exits.
    """

    name: str
    path: Path
    sha256: str
    size_bytes: int
    metadata: gfnet.Metadata
    exit_rule: str

    @property
    def config(self) -> gfnet.ModelConfig:
        """Its family and sizes."""
        return self.metadata.config

    @cached_property
    def preprocessing(self) -> dict[str, Any]:
        """Preprocessing of its images as JSON; it is part of the identity of each of its cells."""
        return self.metadata.preprocessing.to_json()

    @cached_property
    def exit_costs(self) -> tuple[ExitCost, ...]:
        """What one image costs up to each exit."""
        return count_exit_costs(self.config, self.exit_rule)

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


def read_model(value: Value, base: Path) -> Model | None:
    """Read one entry of `models`: a bundled name, a path, or a mapping of KEYS.

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
    try:
        info = _inspect(path)
        metadata = gfnet.with_exits(info.metadata, exits, text)
    except (gfnet.CheckpointError, OSError) as err:
        value.problem(str(err), "a GFNet checkpoint, .safetensors or .pth")
        return None
    rule = metadata.config.default_rule
    return Model(name or path.stem, path, info.sha256, info.size_bytes, metadata, rule)


def _inspect(path: Path) -> gfnet.CheckpointInfo:
    """Inspect a checkpoint; only its header is read if its digest is cached."""
    state = storage.state_of_file(path)
    known = storage.known_digest("checkpoint", path, state)
    info = gfnet.inspect_checkpoint(path, known)
    if known is None and state == storage.state_of_file(path):
        storage.keep_digest("checkpoint", path, state, info.sha256)
    return info


def _locate(value: Value, text: str, base: Path) -> Path | None:
    """Find the file of a name or path: bundled, else from `base`, else from the working folder."""
    bundled = gfnet.bundled()
    if text in bundled:
        return bundled[text]
    if "/" not in text and not text.endswith(SUFFIXES):
        value.problem(
            f"unknown model {text!r}{suggest_near(text, bundled)}",
            f"a bundled checkpoint ({', '.join(bundled)}) or the path of a .safetensors or .pth"
            " file",
        )
        return None
    places = list(dict.fromkeys([base / text, Path(text).absolute()]))
    for place in places:
        with contextlib.suppress(OSError, ValueError):  # not a valid file name
            if place.is_file():
                return place
    looked = " and ".join(str(place) for place in places)
    value.problem(f"no such checkpoint: {text!r}", f"an existing file; looked at {looked}")
    return None
