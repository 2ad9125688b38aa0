"""Weights that are not finite are refused by name: read, imported, loaded and saved."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import gfnet
from gfnet.checkpoint import METADATA_KEY
from gfnet.convert import ImportChanges, convert

DTYPES = (torch.float64, torch.float32, torch.float16, torch.bfloat16)


@pytest.fixture
def saved(tmp_path: Path, lively: Callable) -> Path:
    """A checkpoint of a small early-exit model."""
    path = tmp_path / "model.safetensors"
    gfnet.save_checkpoint(lively(exit_blocks=(1, 3)), path)
    return path


def _spoil(path: Path, dtype: torch.dtype, values: dict[str, list[float]]) -> None:
    """Write such values at the end of tensors of a safetensors file, all of it in one type."""
    metadata = gfnet.inspect_checkpoint(path).metadata
    state = {name: tensor.to(dtype) for name, tensor in load_file(path).items()}
    for name, tail in values.items():
        state[name].view(-1)[-len(tail) :] = torch.tensor(tail, dtype=dtype)
    save_file(state, path, {METADATA_KEY: json.dumps(metadata.to_json())})


@pytest.mark.parametrize("dtype", DTYPES)
def test_each_tensor_is_named_with_its_counts(saved: Path, dtype: torch.dtype) -> None:
    """NaN and infinity apart, in each type of a file; by both readers."""
    values = {"head.bias": [math.nan, math.inf, -math.inf], "norm.weight": [math.nan]}
    _spoil(saved, dtype, values)
    for read in (gfnet.inspect_checkpoint, gfnet.load_checkpoint):
        with pytest.raises(gfnet.CheckpointError) as caught:
            read(saved)
        said = str(caught.value)
        assert f"{saved}: it has weights that are not finite: " in said
        assert "head.bias (1 NaN, 2 infinite of 4)" in said
        assert "norm.weight (1 NaN of 6)" in said
        assert "head.weight" not in said
        assert "take an earlier checkpoint" in said


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_largest_numbers_of_a_type_are_finite(saved: Path, dtype: torch.dtype) -> None:
    """As float32 holds them, in which models compute."""
    largest = min(torch.finfo(dtype).max, torch.finfo(torch.float32).max)
    _spoil(saved, dtype, {"head.bias": [largest, -largest, torch.finfo(dtype).tiny]})
    gfnet.inspect_checkpoint(saved)
    assert gfnet.load_checkpoint(saved).get_parameter("head.bias")[1].item() == largest


def test_what_float32_cannot_hold_is_infinite(saved: Path) -> None:
    """1e39 in a file of float64 would be infinite in the model."""
    _spoil(saved, torch.float64, {"head.bias": [1e39]})
    with pytest.raises(gfnet.CheckpointError, match=r"head\.bias \(1 infinite of 4\)"):
        gfnet.inspect_checkpoint(saved)


def test_a_torch_file_is_refused_alike(tmp_path: Path, lively: Callable) -> None:
    """Where a grid names it, and where it is imported."""
    state = lively(exit_blocks=(1, 3)).state_dict()
    state["blocks.1.filter.complex_weight"][0] = math.nan
    torch.save({"model": state}, tmp_path / "m.pth")
    for read in (
        gfnet.inspect_checkpoint,
        gfnet.load_checkpoint,
        lambda path: convert(path, ImportChanges(exit_blocks=(1, 3))),
    ):
        with pytest.raises(gfnet.CheckpointError, match=r"m\.pth: .*complex_weight \(48 NaN of "):
            read(tmp_path / "m.pth")


def test_thresholds_are_not_written_over_them(saved: Path) -> None:
    """`choose --write` would publish them once more."""
    _spoil(saved, torch.float32, {"head.bias": [math.nan]})
    with pytest.raises(gfnet.CheckpointError, match="not finite"):
        gfnet.save_thresholds(saved, saved.with_name("new.safetensors"), (0.5, 0.5))
    assert not saved.with_name("new.safetensors").exists()


@pytest.mark.parametrize(
    ("value", "weights", "words"),
    [(math.nan, "float32", "as float32, .*1 NaN"), (7e4, "float16", "as float16, .*1 infinite")],
)
def test_they_are_not_saved(
    saved: Path, lively: Callable, value: float, weights: str, words: str
) -> None:
    """Also where a number is too large for the type on disk; the file that is there stands."""
    before = saved.read_bytes()
    model = lively(exit_blocks=(1, 3))
    with torch.no_grad():
        model.get_parameter("head.bias")[0] = value
    with pytest.raises(
        gfnet.CheckpointError, match=rf"model\.safetensors was not written: {words}"
    ):
        gfnet.save_checkpoint(model, saved, weights=weights)
    assert saved.read_bytes() == before


def test_they_are_found_without_torch(saved: Path) -> None:
    """So that `gfjobs plan` refuses them before anything runs."""
    _spoil(saved, torch.bfloat16, {"head.bias": [math.inf]})
    code = (
        "import sys, gfnet\n"
        f"try: gfnet.inspect_checkpoint({str(saved)!r})\n"
        "except gfnet.CheckpointError as err: assert 'head.bias (1 infinite' in str(err), err\n"
        "else: sys.exit('it was taken')\n"
        "sys.exit('torch' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
