"""Trainings in processes of their own: killed, interrupted, gone on with."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

from pyarrow import parquet

import storage

from .commands import RECIPE


def test_a_training_that_is_killed_twice_ends_with_the_same_weights(
    place: Any, processes: Any
) -> None:
    """A kill -9 at two moments, then --resume: bit-identical, and each row once."""
    recipe = place.root.parent / "tiny.yaml"
    recipe.write_text(RECIPE.replace("epochs: 3", "epochs: 12", 1))
    whole, part = (recipe.parent / name / "tiny.safetensors" for name in ("whole", "part"))
    results = ("--results", place.root)
    code, said = place.command("train", recipe, "-o", whole, "--results", place.root / "w").end()
    assert code == 0, said
    state = part.with_name("tiny.safetensors.training")
    for kills, epochs in enumerate((2, 6)):
        command = place.command("train", recipe, "-o", part, *results, *["--resume"] * kills)
        processes.until(lambda least=epochs: _epochs(place.root) >= least, "some epochs")
        command.signal(signal.SIGKILL)
        command.end()
        assert state.exists()
        assert not part.exists()
    code, said = place.command("train", recipe, "-o", part, *results).end()
    assert code == 2, said
    assert "add --resume to continue" in said
    code, said = place.command("train", recipe, "-o", part, *results, "--resume").end()
    assert code == 0, said
    assert part.read_bytes() == whole.read_bytes()
    assert [path.name for path in part.parent.iterdir()] == ["tiny.safetensors"]
    rows = storage.query(place.root, "select epoch from training order by epoch")
    assert rows["epoch"].to_pylist() == list(range(1, 13))


def test_ctrl_c_says_how_to_go_on(place: Any, processes: Any) -> None:
    """The command to copy is the one that was given, with --resume."""
    recipe = place.root.parent / "tiny.yaml"
    recipe.write_text(RECIPE.replace("epochs: 3", "epochs: 500", 1))
    command = place.command("train", recipe, "--results", place.root)
    processes.until(lambda: _epochs(place.root) >= 1, "an epoch")
    command.signal(signal.SIGINT)
    code, said = command.end()
    assert code == 1, said
    assert f"train {recipe} --results {place.root} --resume" in said


def _epochs(root: Path) -> int:
    """Epochs that the table training has so far."""
    return sum(parquet.read_metadata(path).num_rows for path in root.glob("training/*.parquet"))
