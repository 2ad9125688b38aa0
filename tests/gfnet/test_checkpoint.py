"""Checkpoints: what is written is read back, and what is broken is named."""

from __future__ import annotations

import io
import json
import math
import os
import pickle
import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save, save_file

import gfnet
from gfnet import checkpoint
from gfnet.checkpoint import METADATA_KEY
from gfnet.config import ModelConfig
from gfnet.infer import infer_config
from gfnet.metadata import Metadata
from gfnet.tensors import read_header


@pytest.fixture
def saved(tmp_path: Path, lively: Callable) -> Path:
    """A checkpoint of a small early-exit model."""
    path = tmp_path / "model.safetensors"
    gfnet.save_checkpoint(lively(exit_blocks=(1, 3)), path)
    return path


def test_round_trip(tmp_path: Path, lively: Callable) -> None:
    """Weights, sizes and all metadata come back, and no temporary file is left."""
    model = lively(exit_blocks=(1, 3))
    metadata = Metadata(
        model.config,
        gfnet.Preprocessing(10, 8, "bilinear", (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)),
        ("a", "b", "c", "d"),
        (0.25, 0.75),
        {"stage": "exits"},
    )
    path = tmp_path / "model.safetensors"
    gfnet.save_checkpoint(model, path, metadata)
    loaded = gfnet.load_checkpoint(path)
    assert loaded.metadata == metadata
    images = torch.randn(2, 3, 8, 8)
    assert torch.equal(loaded(images), model(images))
    assert [file.name for file in tmp_path.iterdir()] == ["model.safetensors"]
    assert gfnet.load_checkpoint(path.read_bytes()).metadata == metadata


def test_a_loaded_model_owns_its_memory(saved: Path) -> None:
    """Nothing is left without numbers, and the file's bytes may go: also those of a view."""
    content = bytearray(saved.read_bytes())
    model = gfnet.load_checkpoint(memoryview(content))
    expected = gfnet.load_checkpoint(saved)
    content[-1000:] = bytes(1000)
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        assert tensor.device.type == "cpu", name
        assert tensor.dtype == torch.float32
        assert tensor.is_contiguous()
        assert tensor.data_ptr() % 64 == 0  # as torch's own: products may depend on it
    images = torch.randn(2, 3, 8, 8)
    assert torch.equal(model(images), expected(images))
    assert not model.training
    assert all(each.requires_grad for each in model.parameters())


def test_transposed_tensors_of_a_pth_are_loaded_as_any(saved: Path, tmp_path: Path) -> None:
    """A tensor's place in memory is not its content."""
    state = {
        name: each.mT.contiguous().mT if each.dim() > 1 else each.requires_grad_()
        for name, each in load_file(saved).items()
    }
    path = tmp_path / "model.pth"
    torch.save(state, path)
    model = gfnet.load_checkpoint(path)
    assert all(each.is_contiguous() and each.is_leaf for each in model.parameters())
    assert all(torch.equal(each, state[name]) for name, each in model.state_dict().items())


def test_saving_without_metadata_assumes_imagenets(saved: Path) -> None:
    """`save_checkpoint(model, path)` works without further metadata."""
    info = gfnet.inspect_checkpoint(saved)
    assert info.metadata.preprocessing == gfnet.Preprocessing(size=8, crop=8)
    assert info.metadata.config.exit_blocks == (1, 3)
    assert info.size_bytes == saved.stat().st_size
    assert len(info.sha256) == 64


def test_a_failed_save_leaves_the_old_file(
    saved: Path, lively: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk while writing loses nothing and leaves nothing half-written."""
    before = saved.read_bytes()

    def fail(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="No space"):
        gfnet.save_checkpoint(lively(2), saved)
    assert saved.read_bytes() == before
    assert [file.name for file in saved.parent.iterdir()] == [saved.name]


def test_with_its_digest_no_more_than_the_header_is_read(
    saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It says the same, and finds the same wrong; a file of torch.save has no header."""
    info = gfnet.inspect_checkpoint(saved)
    header, size_bytes = read_header(saved)
    assert len(header) == 8 + struct.unpack("<Q", header[:8])[0] < size_bytes == info.size_bytes
    with monkeypatch.context() as patch:
        patch.delattr(checkpoint, "read_bytes")
        assert gfnet.inspect_checkpoint(saved, info.sha256) == info
    data = saved.read_bytes()
    for broken in (b"", data[:7], data[:100], data[:-1], data + b"x", b"PK" + data, bytes(99)):
        saved.write_bytes(broken)
        messages = []
        for sha256 in (None, "0" * 64):
            with pytest.raises(gfnet.CheckpointError) as found:
                gfnet.inspect_checkpoint(saved, sha256)
            messages.append(str(found.value))
        assert messages[0] == messages[1]
    torch.save(gfnet.load_checkpoint(data).state_dict(), saved)
    assert gfnet.inspect_checkpoint(saved, "0" * 64) == gfnet.inspect_checkpoint(saved)


def test_truncation_anywhere_is_found(saved: Path) -> None:
    """A file cut off at any point is refused with its name, by header alone."""
    data = saved.read_bytes()
    for length in [0, 1, 7, 8, 9, 100, len(data) // 2, len(data) - 1]:
        saved.write_bytes(data[:length])
        with pytest.raises(
            gfnet.CheckpointError, match=r"model\.safetensors: .*(truncated|neither)"
        ):
            gfnet.inspect_checkpoint(saved)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "0 bytes: truncated"),
        (b"hello, this is no checkpoint", "neither a safetensors file"),
        (struct.pack("<Q", 5) + b"{nope", "header is not that of a safetensors file"),
        (struct.pack("<Q", 2) + b"{}", "not a Global Filter Network"),
        (struct.pack("<Q", 13) + b'{"a":{"b":1}}', "header is not that of a safetensors file"),
        (struct.pack("<Q", 20_000) + b"{" + b"[" * 19_999, "header is not that of"),
    ],
)
def test_garbage_is_named(content: bytes, words: str, tmp_path: Path) -> None:
    """Files that are not checkpoints say what they are not."""
    path = tmp_path / "x.safetensors"
    path.write_bytes(content)
    with pytest.raises(gfnet.CheckpointError, match=words):
        gfnet.inspect_checkpoint(path)


def test_missing_file_and_folder(tmp_path: Path) -> None:
    """Paths that are no files."""
    with pytest.raises(gfnet.CheckpointError, match="no such file"):
        gfnet.inspect_checkpoint(tmp_path / "none.safetensors")
    with pytest.raises(gfnet.CheckpointError, match="cannot be read"):
        gfnet.inspect_checkpoint(tmp_path)


def test_missing_and_extra_keys_are_listed(saved: Path) -> None:
    """The message lists what is missing, extra, and of wrong shape."""
    info = gfnet.inspect_checkpoint(saved)
    state = load_file(saved)
    del state["head.bias"]
    state["colour"] = torch.zeros(1)
    state["norm.weight"] = torch.zeros(7)
    save_file(state, saved, {METADATA_KEY: json.dumps(info.metadata.to_json())})
    with pytest.raises(gfnet.CheckpointError) as caught:
        gfnet.inspect_checkpoint(saved)
    for words in ("missing: head.bias", "extra: colour", "norm.weight [7], expected [6]"):
        assert words in str(caught.value)
    with pytest.raises(gfnet.CheckpointError):
        gfnet.load_checkpoint(saved)


def test_a_checkpoint_of_another_family_is_refused(saved: Path) -> None:
    """Metadata that claims the flat family over early-exit tensors."""
    fields = gfnet.inspect_checkpoint(saved).metadata.to_json()
    fields["config"] |= {"family": "gfnet", "filter_grid": [4, 4], "exit_blocks": []}
    save_file(load_file(saved), saved, {METADATA_KEY: json.dumps(fields)})
    with pytest.raises(gfnet.CheckpointError, match=r"not match a gfnet .*extra: cls_token"):
        gfnet.inspect_checkpoint(saved)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"format": 2}, "format 2; this version reads format 1"),
        ({"class_names": ["a"]}, "1 class names for 4 classes"),
        ({"thresholds": [0.5]}, "1 thresholds for 2 gates"),
        ({"thresholds": [0.5, 2]}, "threshold 2 is not"),
        ({"thresholds": [0.5, "x"]}, "threshold 'x' is not"),
        ({"thresholds": [0.5, "-inf"]}, "threshold '-inf' is not"),
        ({"preprocessing": {}}, "preprocessing has the fields"),
        ({"preprocessing": None}, "metadata is invalid"),
        ({"config": {}}, "lack family"),
        ({"config": 3}, "metadata is invalid"),
    ],
)
def test_broken_metadata_is_named(change: dict[str, object], words: str, saved: Path) -> None:
    """A header whose JSON is not what this version wrote."""
    fields = gfnet.inspect_checkpoint(saved).metadata.to_json()
    save_file(load_file(saved), saved, {METADATA_KEY: json.dumps(fields | change)})
    with pytest.raises(gfnet.CheckpointError, match=words):
        gfnet.inspect_checkpoint(saved)


def test_default_thresholds_are_written_and_weights_stay(lively: Callable, tmp_path: Path) -> None:
    """Bit for bit, also in half precision; what does not fit the gates is refused."""
    model = lively(exit_blocks=(1, 3))
    path, new = tmp_path / "m.safetensors", tmp_path / "n.safetensors"
    gfnet.save_checkpoint(model, path, weights="float16")
    gfnet.save_thresholds(path, new, (0.25, math.inf))
    assert gfnet.inspect_checkpoint(new).metadata.thresholds == (0.25, math.inf)
    before, after = load_file(path), load_file(new)
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert after["norm.weight"].dtype == torch.float16
    with pytest.raises(gfnet.CheckpointError, match="1 thresholds for 2 gates"):
        gfnet.save_thresholds(path, new, (0.25,))


def test_thresholds_replace_no_other_weights(lively: Callable, tmp_path: Path) -> None:
    """Its own file and a copy may be replaced; other weights, fewer exits or a text may not."""
    path, copy = tmp_path / "m.safetensors", tmp_path / "n.safetensors"
    gfnet.save_checkpoint(lively(exit_blocks=(1, 3)), path)
    for thresholds in ((0.25, 0.5), (0.5, 0.75)):
        for target in (path, copy):
            gfnet.save_thresholds(path, target, thresholds)
            assert gfnet.inspect_checkpoint(target).metadata.thresholds == thresholds
    other, text = tmp_path / "other.safetensors", tmp_path / "notes.txt"
    model = lively(exit_blocks=(1, 3))
    torch.nn.init.constant_(model.get_parameter("head.bias"), 0.5)
    gfnet.save_checkpoint(model, other)
    text.write_text("mine")
    for target, exit_blocks in ((other, None), (text, None), (path, (3,))):
        before = target.read_bytes()
        with pytest.raises(gfnet.CheckpointError, match="already exists, and is not a checkpoint"):
            gfnet.save_thresholds(path, target, (0.5,) * 2, exit_blocks=exit_blocks)
        assert target.read_bytes() == before


def test_a_gate_that_stays_shut_is_kept(lively: Callable, tmp_path: Path) -> None:
    """A threshold of +inf survives the file, which is JSON by the letter."""
    model = lively(exit_blocks=(1, 3))
    model.metadata = replace(model.metadata, thresholds=(0.25, math.inf))
    path = tmp_path / "shut.safetensors"
    gfnet.save_checkpoint(model, path)
    assert gfnet.inspect_checkpoint(path).metadata.thresholds == (0.25, math.inf)
    assert b"Infinity" not in path.read_bytes()


def test_integers_are_no_weights(saved: Path) -> None:
    """Tensors of whole numbers are refused by name."""
    info = gfnet.inspect_checkpoint(saved)
    state = load_file(saved)
    state["head.bias"] = state["head.bias"].long()
    save_file(state, saved, {METADATA_KEY: json.dumps(info.metadata.to_json())})
    with pytest.raises(gfnet.CheckpointError, match=r"not floating-point numbers: head\.bias"):
        gfnet.inspect_checkpoint(saved)


class _Bomb:
    """A pickle that would create a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("is_bare", [True, False])
def test_a_pickle_that_runs_code_is_not_opened(is_bare: bool, tmp_path: Path) -> None:
    """Neither torch's zip nor a bare pickle runs anything."""
    trace, path = tmp_path / "was-run", tmp_path / "bomb.pth"
    if is_bare:
        path.write_bytes(pickle.dumps(_Bomb(trace), protocol=2))
    else:
        torch.save({"model": _Bomb(trace)}, path)
    with pytest.raises(gfnet.CheckpointError, match="could run code"):
        gfnet.inspect_checkpoint(path)
    assert not trace.exists()


@pytest.mark.parametrize("family", gfnet.FAMILIES)
def test_pth_files_are_read_by_their_shapes(family: str, tmp_path: Path) -> None:
    """A state dict that says nothing of itself, bare or under the key `model`."""
    sizes: dict[str, Any] = {"img_size": 12, "patch_size": 3, "embed_dim": 5, "depth": 3}
    if family == "gfnet-h":
        sizes = {"img_size": 32, "embed_dims": (3, 4, 5, 6), "depths": (1, 2, 1, 1)}
    model = gfnet.create(family, num_classes=4, **sizes)
    images = torch.randn(2, 3, model.config.img_size, model.config.img_size)
    for name, content in {"a": model.state_dict(), "b": {"model": model.state_dict()}}.items():
        path = tmp_path / f"{name}.pth"
        torch.save(content, path)
        if family == "gfnet-dynn":
            with pytest.raises(gfnet.CheckpointError, match="import FILE --exit-blocks 0,1"):
                gfnet.load_checkpoint(path)
            continue
        loaded = gfnet.load_checkpoint(path)
        assert loaded.config == model.config
        assert torch.equal(loaded(images), model(images))


def test_pth_files_that_hold_something_else(tmp_path: Path) -> None:
    """Tensors that are no state dict, and a zip cut short."""
    path = tmp_path / "x.pth"
    torch.save([torch.zeros(1)], path)
    with pytest.raises(gfnet.CheckpointError, match="no state dict"):
        gfnet.inspect_checkpoint(path)
    torch.save({"a": torch.zeros(100)}, path)
    with pytest.raises(gfnet.CheckpointError, match="not a Global Filter Network"):
        gfnet.inspect_checkpoint(path)
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(gfnet.CheckpointError, match="cannot read it"):
        gfnet.inspect_checkpoint(path)


def test_inference_of_sizes() -> None:
    """Family and sizes follow from names and shapes, the 43 x 6 grid included."""
    config = ModelConfig(
        "gfnet-distil-dynn",
        img_size=256,
        depth=3,
        num_classes=21,
        filter_grid=(43, 6),
        exit_blocks=(0, 1),
    )
    assert infer_config(config.state_shapes()) == config
    with pytest.raises(ValueError, match=r"pos_embed has shape \[\]"):
        infer_config(config.state_shapes() | {"pos_embed": ()})


def test_exits_can_be_narrowed_not_widened(saved: Path, lively: Callable) -> None:
    """Only exits that were trained can be enabled, and their thresholds go with them."""
    assert gfnet.load_checkpoint(saved, exit_blocks=(3,)).config.exit_blocks == (3,)
    model = lively(exit_blocks=(1, 3))
    metadata = replace(model.metadata, thresholds=(0.25, 0.75), training={"stage": "exits"})
    narrowed = gfnet.with_exits(metadata, (3,), "m")
    assert (narrowed.config.exit_blocks, narrowed.thresholds) == ((3,), (0.75,))
    with pytest.raises(gfnet.CheckpointError, match=r"enables \[2\], .* trained: \[1, 3\]"):
        gfnet.with_exits(metadata, (2, 3), "m")
    with pytest.raises(gfnet.CheckpointError, match=r"0\.\.3"):
        gfnet.with_exits(metadata, (9,), "m")


@pytest.mark.parametrize("family", ["gfnet-dynn", "gfnet-h"])
def test_exits_numbered_in_their_order_keep_their_heads(
    tmp_path: Path, family: str, lively: Callable
) -> None:
    """Whichever exits are enabled, each has the outputs that it had; also in a copy of the file."""
    model, path = lively(family=family, exit_blocks=(0, 1, 3)), tmp_path / "m.safetensors"
    gfnet.save_checkpoint(model, path)
    images = torch.randn(4, 3, model.config.img_size, model.config.img_size)
    every = model.forward_exits(images)
    for blocks, rows in (((1,), [1]), ((0, 3), [0, 2]), ((), []), ((0, 1, 3), [0, 1, 2])):
        gfnet.save_thresholds(path, tmp_path / f"{rows}", [0.5] * len(rows), exit_blocks=blocks)
        for source in (gfnet.load_checkpoint(path, exit_blocks=blocks), tmp_path / f"{rows}"):
            loaded = gfnet.load_checkpoint(source) if isinstance(source, Path) else source
            assert loaded.config.exit_blocks == blocks
            outputs = loaded.forward_exits(images)
            assert torch.equal(outputs.gate_scores, every.gate_scores[rows])
            assert torch.equal(outputs.logits, every.logits[[*rows, 3]])
    with pytest.raises(gfnet.CheckpointError, match=r"enables \[2\], .* after blocks \[0, 1, 3\]"):
        gfnet.load_checkpoint(path, exit_blocks=(1, 2))


def test_half_precision_weights_are_loaded_as_float32(saved: Path) -> None:
    """Weights may lie on disk in float16; the model computes in float32."""
    info = gfnet.inspect_checkpoint(saved)
    state = {name: tensor.half() for name, tensor in load_file(saved).items()}
    data = save(state, {METADATA_KEY: json.dumps(info.metadata.to_json())})
    model = gfnet.load_checkpoint(io.BytesIO(data).getvalue())
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}


HEADERS = [
    {"__metadata__": 5},
    {"__metadata__": None},
    {"__metadata__": {METADATA_KEY: 5}},
    {"__metadata__": {METADATA_KEY: "[1]"}},
    {"__metadata__": {METADATA_KEY: "[" * 100_000}},
    {"norm.bias": 3},
    {"norm.bias": {"dtype": "F32", "shape": [6], "data_offsets": []}},
    {"norm.bias": {"dtype": "F32", "shape": [6], "data_offsets": [0, "x"]}},
    {"norm.bias": {"dtype": ["F32"], "shape": [6], "data_offsets": [0, 24]}},
    {
        "__metadata__": {},
        "pos_embed": {"dtype": "F32", "shape": [1, 51.5, 6], "data_offsets": [0, 24]},
    },
    {
        "__metadata__": {},
        "pos_embed": {"dtype": "F32", "shape": [1, 10**18, 6], "data_offsets": [0, 24]},
    },
    {
        "__metadata__": {},
        "blocks.99999999999.x": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]},
    },
]


@pytest.mark.parametrize("change", HEADERS)
def test_hostile_headers_end_in_one_error(change: dict[str, object], saved: Path) -> None:
    """Whatever a header claims: a CheckpointError, at once."""
    data = saved.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    header = json.dumps(json.loads(data[8 : 8 + length]) | change).encode()
    saved.write_bytes(struct.pack("<Q", len(header)) + header + data[8 + length :])
    with pytest.raises(gfnet.CheckpointError):
        gfnet.inspect_checkpoint(saved)


def test_pth_files_of_odd_tensors(tmp_path: Path, lively: Callable) -> None:
    """Keys that are no names, sparse and complex tensors, a path with a NUL."""
    path = tmp_path / "x.pth"
    state = lively(exit_blocks=(1,)).state_dict()
    for change in (
        {0: torch.zeros(1)},
        {"norm.weight": torch.zeros(6).to_sparse()},
        {"norm.weight": torch.zeros(6, dtype=torch.complex64)},
    ):
        torch.save(state | change, path)
        with pytest.raises(gfnet.CheckpointError):
            gfnet.inspect_checkpoint(path)
    with pytest.raises(gfnet.CheckpointError):
        gfnet.inspect_checkpoint("a\0b")
