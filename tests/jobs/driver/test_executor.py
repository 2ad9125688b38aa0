"""What an executor sends, whichever it is."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.driving import Run

from jobs.plan.order import make_blocks
from jobs.plan.sources import SourceError, Sources


def test_sources_are_what_was_planned(run: Run, tmp_path: Path) -> None:
    """A checkpoint that changed or went since then is not used."""
    queue = make_blocks(run.plan, by_device=False)[0].tasks("r", frozenset())
    task = next(queue)
    sources = Sources.of(run.plan)
    weights = sources.weights(task)
    copy = tmp_path / "copy.safetensors"
    moved = Sources({task.checkpoint_sha256: copy}, sources.images)
    with pytest.raises(SourceError, match="cannot be read"):
        moved.weights(task)
    copy.write_bytes(weights[:-1] + b"x")
    with pytest.raises(SourceError, match="has changed"):
        moved.weights(task)
