"""Existing weights become models that answer as before; what is not theirs is refused."""

from __future__ import annotations

import argparse
import gzip
import pickle
import re
import tarfile
import zipfile
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch.optim.swa_utils import AveragedModel

from gfnet import (
    CheckpointError,
    GFNet,
    Metadata,
    Preprocessing,
    create,
    inspect_checkpoint,
    load_checkpoint,
    save_checkpoint,
    with_rule,
)
from gfnet.checkpoint import METADATA_KEY
from gfnet.convert import ImportChanges, convert

SIZES: dict[str, Any] = {"img_size": 16, "patch_size": 4, "embed_dim": 8, "depth": 3}
FAMILIES = ("gfnet", "gfnet-dynn", "gfnet-distil", "gfnet-distil-dynn")


def _model(family: str = "gfnet", **changes: Any) -> GFNet:
    torch.manual_seed(0)
    return create(family, **(SIZES | {"num_classes": 7} | changes))


def _changes(family: str, exits: tuple[int, ...] = (0, 1)) -> ImportChanges:
    return ImportChanges(exit_blocks=exits) if family.endswith("-dynn") else ImportChanges()


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_each_family_answers_as_before(tmp_path: Path, family: str, suffix: str) -> None:
    """Sizes, grid and any head size are inferred; logits are equal to the last bit."""
    model, path = _model(family), tmp_path / f"m{suffix}"
    if suffix == ".pth":
        torch.save(model.state_dict(), path)
    else:
        save_file(model.state_dict(), path)
    converted = convert(path, _changes(family)).model
    images = torch.randn(2, 3, 16, 16)
    assert converted.config == model.config
    assert torch.equal(converted(images), model(images))
    assert torch.equal(
        converted.forward_exits(images).gate_scores, model.forward_exits(images).gate_scores
    )


def test_a_published_file_is_read_as_it_is(tmp_path: Path) -> None:
    """The sizes of gfnet-xs in a mapping under `model`, beside epoch and the script's options."""
    model, path = create("gfnet-xs", num_classes=1000), tmp_path / "gfnet-xs.pth"
    content = {"model": model.state_dict(), "epoch": 299, "args": argparse.Namespace(lr=0.1)}
    torch.save(content, path)
    converted = convert(path, ImportChanges())
    assert converted.model.config == model.config
    assert converted.notes == ("taken from the key 'model'; left out: args, epoch",)


@pytest.mark.parametrize(
    ("wrap", "note"),
    [
        (lambda state: {"state_dict": state}, "taken from the key 'state_dict'"),
        (lambda state: {"net": state, "acc": 97.1}, "taken from the key 'net'; left out: acc"),
        (lambda state: {"model_ema": state}, "taken from the key 'model_ema'"),
        (
            lambda state: {"model": state, "model_ema": {}},
            "taken from the key 'model'; left out: mo",
        ),
        (lambda state: {f"module.{k}": v for k, v in state.items()}, "the prefix 'module.'"),
        (lambda state: {f"_orig_mod.{k}": v for k, v in state.items()}, "the prefix '_orig_mod.'"),
        (lambda state: {"state_dict_ema": state}, "taken from the key 'state_dict_ema'"),
        (
            lambda state: {"ema": {"state_dict": state}, "updates": 3},
            "taken from the key 'ema'; le",
        ),
        (
            lambda state: {f"_orig_mod.module.{k}": v for k, v in state.items()},
            "the prefix '_orig_mod.' was removed from all names",
        ),
        (lambda state: {f"module.module.{k}": v for k, v in state.items()}, "the prefix 'module.'"),
        (
            lambda state: AveragedModel(_model()).state_dict(),  # noqa: ARG005 - its own weights
            "the prefix 'module.' was removed from all names",
        ),
        (
            lambda state: {f"model.{k}": v for k, v in state.items()} | {"loss.w": torch.ones(3)},
            "taken from the names that begin with 'model.'; left out: loss.w",
        ),
        (
            lambda state: {k.replace("blocks.", "blocks._orig_mod."): v for k, v in state.items()},
            "'_orig_mod.' was removed from inside the names",
        ),
        (
            lambda state: {re.sub(r"(blocks\.\d)", r"\1._orig_mod", k): state[k] for k in state},
            "'_orig_mod.' was removed from inside the names",
        ),
    ],
)
def test_wrappings_are_taken_off_and_said(tmp_path: Path, wrap: Any, note: str) -> None:
    """What training scripts put around a state dict."""
    torch.save(wrap(_model().state_dict()), tmp_path / "m.pth")
    converted = convert(tmp_path / "m.pth", ImportChanges())
    assert converted.model.config == _model().config
    assert converted.notes[0].startswith(note)


def test_every_wrapping_is_said(tmp_path: Path) -> None:
    """In the order in which they are taken off; the counter of an averaged model is no weight."""
    averaged = {f"_orig_mod.{k}": v for k, v in AveragedModel(_model()).state_dict().items()}
    torch.save({"ema": {"state_dict": averaged}, "updates": 3}, tmp_path / "m.pth")
    converted = convert(tmp_path / "m.pth", ImportChanges())
    assert converted.notes == (
        "taken from the key 'ema'; left out: updates",
        "taken from the key 'state_dict'",
        "the prefix '_orig_mod.' was removed from all names",
        "the prefix 'module.' was removed from all names",
        "left out: n_averaged, the counter of an averaged model",
    )
    images = torch.randn(2, 3, 16, 16)
    assert torch.equal(converted.model(images), _model()(images))


@pytest.mark.parametrize("is_zip", [True, False])
@pytest.mark.parametrize("protocol", [3, 4, 5])
def test_another_pickle_protocol_is_named(tmp_path: Path, is_zip: bool, protocol: int) -> None:
    """It holds tensors alone, and torch.save wrote it; nothing is warned of."""
    file = tmp_path / "m.pth"
    state = _model().state_dict()
    torch.save(state, file, pickle_protocol=protocol, _use_new_zipfile_serialization=is_zip)
    said = rf"saved with pickle protocol {protocol}, .* without pickle_protocol"
    for read in (partial(convert, changes=ImportChanges()), inspect_checkpoint):
        with pytest.raises(CheckpointError, match=said):
            read(file)


def test_a_tar_archive_is_named(tmp_path: Path) -> None:
    """What torch wrote in its first year, or a checkpoint that was packed with others."""
    torch.save(_model().state_dict(), tmp_path / "m.pth")
    with tarfile.open(tmp_path / "m.pth.tar", "w") as archive:
        archive.add(tmp_path / "m.pth", "m.pth")
    with pytest.raises(CheckpointError, match="it is a tar archive: unpack it"):
        convert(tmp_path / "m.pth.tar", ImportChanges())


@pytest.mark.parametrize(
    "key", ["state_dict", "ema", "module.pos_embed", "net.blocks.0.filter.complex_weight"]
)
def test_a_grid_is_sent_to_the_import(tmp_path: Path, key: str) -> None:
    """A wrapped state dict is no checkpoint yet."""
    state = _model().state_dict()
    prefix, dot, _ = key.partition(".")
    content = {f"{prefix}.{k}": v for k, v in state.items()} if dot else {key: state}
    torch.save(content, tmp_path / "m.pth")
    with pytest.raises(CheckpointError, match=rf"wrapped \(.*{key}.*`gfjobs import FILE` makes"):
        inspect_checkpoint(tmp_path / "m.pth")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n", "`git lfs pull`"),
        (b"\n<!DOCTYPE html><html>quota exceeded</html>", "page of a web site"),
        (gzip.compress(b"weights", mtime=0), "compressed by gzip: unpack it"),
        (b'{"metadata": {}, "weight_map": {}}', "index of a model in several files"),
    ],
)
def test_what_a_download_left_instead_is_named(tmp_path: Path, content: bytes, said: str) -> None:
    """By its first bytes, with what to do."""
    (tmp_path / "m.pth").write_bytes(content)
    for read in (partial(convert, changes=ImportChanges()), inspect_checkpoint):
        with pytest.raises(CheckpointError, match=said):
            read(tmp_path / "m.pth")


def test_archives_and_folders_that_are_no_checkpoint(tmp_path: Path) -> None:
    """TorchScript, which holds code; a zip of something; what torch.distributed wrote; a part."""
    with zipfile.ZipFile(tmp_path / "script.pt", "w") as archive:
        for name in ("data.pkl", "constants.pkl", "code/__torch__.py"):
            archive.writestr(f"script/{name}", b"\x80\x02")
    with zipfile.ZipFile(tmp_path / "sent.zip", "w") as archive:
        archive.writestr("mine/m.pth", b"")
    (tmp_path / "dcp").mkdir()
    (tmp_path / "dcp/.metadata").touch()
    (tmp_path / "folder").mkdir()
    state = _model().state_dict()
    part = {name: state[name] for name in list(state)[:9]}
    save_file(part, tmp_path / "m-00001-of-00002.safetensors")
    for name, said in (
        ("script.pt", "TorchScript archive, which holds code"),
        ("sent.zip", r"did not write \(it holds m\.pth\): unpack it"),
        ("dcp", "dcp_to_torch FOLDER FILE"),
        ("folder", "it is a folder; give the file"),
        ("m-00001-of-00002.safetensors", "one part of several: save all"),
    ):
        for read in (partial(convert, changes=ImportChanges()), inspect_checkpoint):
            with pytest.raises(CheckpointError, match=said):
                read(tmp_path / name)


@pytest.mark.parametrize("dtype", [torch.float16, torch.float64])
def test_weights_become_float32(tmp_path: Path, dtype: torch.dtype) -> None:
    """Of whatever floating-point type they are."""
    torch.save(_model().to(dtype).state_dict(), tmp_path / "m.pth")
    converted = convert(tmp_path / "m.pth", ImportChanges()).model
    assert {tensor.dtype for tensor in converted.state_dict().values()} == {torch.float32}


def test_another_size_is_resampled_and_said(tmp_path: Path) -> None:
    """The note names both grids; a distilled model's says that it is an approximation."""
    torch.save(_model("gfnet-distil").state_dict(), tmp_path / "m.pth")
    converted = convert(tmp_path / "m.pth", ImportChanges(img_size=24, filter_grid=(19, 2)))
    assert converted.model(torch.randn(1, 3, 24, 24)).shape == (1, 7)
    assert "from 16 px, grid 3x6, to 24 px, grid 19x2 (an approximation" in converted.notes[0]


class _Evil:
    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return print, ("code ran",)


def test_no_code_of_a_file_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A pickle of more than tensors is not opened; nor are options that hold such a thing."""
    for name, content in {
        "a.pth": _Evil(),
        "b.pth": {"model": _model().state_dict(), "args": argparse.Namespace(x=_Evil())},
    }.items():
        torch.save(content, tmp_path / name)
        with pytest.raises(
            CheckpointError, match=rf"{name}: it holds a pickle of more than tensors \(print\)"
        ):
            convert(tmp_path / name, ImportChanges())
    (tmp_path / "c.pth").write_bytes(pickle.dumps(_Evil(), protocol=2))
    with pytest.raises(CheckpointError):
        convert(tmp_path / "c.pth", ImportChanges())
    assert capsys.readouterr().out == ""


def _without(key: str) -> dict[str, torch.Tensor]:
    return {name: tensor for name, tensor in _model().state_dict().items() if name != key}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (_without("norm.bias"), "missing: norm.bias"),
        (_model().state_dict() | {"fc.weight": torch.ones(2)}, "extra: fc.weight"),
        (_model().state_dict() | {"norm.bias": torch.ones(9)}, r"norm.bias \[9\], expected \[8\]"),
        (_model().state_dict() | {"n": torch.ones(2, dtype=torch.int64)}, "not dense floating"),
        (
            {"patch_embed.0.proj.weight": torch.ones(1)},
            "hierarchical GFNet, but of its 4 stages .*, blocks.0, .*patch_embed.3, blocks.3 are m",
        ),
        (
            {
                f"{m}.{k}": v
                for m in ("student", "teacher")
                for k, v in _model().state_dict().items()
            },
            r"several models, under student\., teacher\.: save the state_dict\(\) of one",
        ),
        ({"conv1.weight": torch.ones(1)}, "it is not a Global Filter Network"),
        ({"weights": {}, "epoch": 3}, r"it holds no state dict.* \(it holds epoch, weights\)"),
        ([torch.ones(1)], r"it holds no state dict.* \(it holds list\)"),
    ],
)
def test_what_is_no_such_model_is_refused(tmp_path: Path, content: Any, message: str) -> None:
    """Each message starts with the file."""
    torch.save(content, tmp_path / "m.pth")
    with pytest.raises(CheckpointError, match=rf"m\.pth: .*{message}"):
        convert(tmp_path / "m.pth", ImportChanges())


@pytest.mark.parametrize(
    ("family", "changes", "message"),
    [
        ("gfnet-distil-dynn", ImportChanges(), "nothing in it says which were trained"),
        ("gfnet-distil-dynn", ImportChanges(exit_blocks=(0, 2)), r"exit early after blocks 0\.\.1"),
        ("gfnet", ImportChanges(exit_blocks=(0,)), "has no early exits"),
        ("gfnet", ImportChanges(img_size=3), "img_size 3 is smaller than patch_size 4"),
        ("gfnet", ImportChanges(filter_grid=(2, 8)), "its filters have the grid 4x4"),
        ("gfnet-distil", ImportChanges(img_size=24, filter_grid=(5, 7)), "holds 35 tokens"),
    ],
)
def test_changes_that_do_not_fit_are_refused(
    tmp_path: Path, family: str, changes: ImportChanges, message: str
) -> None:
    """With what is possible."""
    torch.save(_model(family).state_dict(), tmp_path / "m.pth")
    with pytest.raises(CheckpointError, match=message):
        convert(tmp_path / "m.pth", changes)


@pytest.mark.parametrize("content", [b"", b"junk", b"PK\x03\x04junk"])
def test_a_broken_file_is_refused(tmp_path: Path, content: bytes) -> None:
    """Truncated, or of another kind; and one that is not there, which is named once."""
    (tmp_path / "m.pth").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"m\.pth: "):
        convert(tmp_path / "m.pth", ImportChanges())
    with pytest.raises(CheckpointError, match=r"^[^:]*none\.pth: there is no such file"):
        convert(tmp_path / "none.pth", ImportChanges())


@pytest.mark.parametrize(("side", "resize"), [(28, 32), (24, 27)])
def test_the_flat_family_is_prepared_as_published(tmp_path: Path, side: int, resize: int) -> None:
    """Resized to 8/7 of the crop, cut off to whole pixels: of 24, 27.4 px."""
    torch.save(_model(img_size=side).state_dict(), tmp_path / "m.pth")
    converted = convert(tmp_path / "m.pth", ImportChanges())
    assert converted.model.metadata.preprocessing == Preprocessing(resize, side)


STAGES: dict[str, Any] = {"embed_dims": (3, 4, 5, 6), "depths": (1, 2, 1, 1), "num_classes": 7}


@pytest.mark.parametrize("wrap", [lambda state: {"model": state, "epoch": 3}, lambda state: state])
@pytest.mark.parametrize("exits", [(), (0, 3)])
def test_a_hierarchical_file_is_read_by_its_shapes(
    tmp_path: Path, wrap: Any, exits: tuple[int, ...]
) -> None:
    """As it is published, and with exits of ours; the margin of the published evaluation."""
    torch.manual_seed(0)
    model = create("gfnet-h", img_size=64, exit_blocks=exits, **STAGES)
    torch.save(wrap(model.state_dict()), tmp_path / "h.pth")
    converted = convert(tmp_path / "h.pth", ImportChanges(exit_blocks=exits or None)).model
    images = torch.randn(2, 3, 64, 64)
    assert converted.config == model.config
    assert converted.metadata.preprocessing == Preprocessing(73, 64)
    assert torch.equal(converted.forward_exits(images).logits, model.forward_exits(images).logits)
    resized = convert(tmp_path / "h.pth", ImportChanges(48, exit_blocks=exits or None))
    assert resized.model.metadata.preprocessing == Preprocessing(54, 48)
    assert (
        "from 64 px, grid 16x16, 8x8, 4x4, 2x2, to 48 px, grid 12x12, 6x6, 3x3, 1x1"
        in (resized.notes[-1])
    )


@pytest.mark.parametrize(
    ("left_out", "named"),
    [
        (("blocks.3.", "patch_embed.3."), r"patch_embed\.3, blocks\.3 are missing: save the state"),
        (("blocks.1.",), r"blocks\.1 are missing"),
        (("blocks.0.",), r"blocks\.0 are missing"),
        (("blocks.1.0.",), "missing: blocks.1.0.filter"),
    ],
)
def test_a_hierarchical_file_with_a_stage_missing_is_refused(
    tmp_path: Path, left_out: tuple[str, ...], named: str
) -> None:
    """The stage is named; of a block within one, its tensors."""
    state = create("gfnet-h", img_size=32, **STAGES).state_dict()
    kept = {name: tensor for name, tensor in state.items() if not name.startswith(left_out)}
    torch.save({"model": kept}, tmp_path / "h.pth")
    with pytest.raises(CheckpointError, match=rf"h\.pth: .*{named}"):
        convert(tmp_path / "h.pth", ImportChanges())


def test_a_hierarchical_file_at_too_small_a_side_is_refused(tmp_path: Path) -> None:
    """With the least that four stages need; exits that it does not have are refused too."""
    torch.save(create("gfnet-h", img_size=32, **STAGES).state_dict(), tmp_path / "h.pth")
    for changes, said in (
        (ImportChanges(28), "img_size 28 is too small for 4 stages: .*; at least 32"),
        (ImportChanges(48, filter_grid=(9, 16)), "grids are square"),
        (ImportChanges(exit_blocks=(1,)), "it is a gfnet-h model without exits"),
    ):
        with pytest.raises(CheckpointError, match=said):
            convert(tmp_path / "h.pth", changes)


def test_the_margin_is_that_of_the_published_evaluation(tmp_path: Path) -> None:
    """int(256 / 224 * side), at any side that a file is resampled to."""
    torch.save(_model(img_size=32).state_dict(), tmp_path / "m.pth")
    for side in (33, 56, 96, 128, 192, 224, 600):
        found = convert(tmp_path / "m.pth", ImportChanges(side)).model.metadata.preprocessing
        assert found == Preprocessing(int(256 / 224 * side), side, "bicubic")


def _published(tmp_path: Path, **changes: Any) -> Path:
    """A file as the early-exit network of remote sensing is published, and its model's state."""
    sizes = {"depth": 6, "exit_blocks": (1, 4)} | changes
    torch.save({"model": _model("gfnet-dynn", **sizes).state_dict()}, tmp_path / "d.pth")
    return tmp_path / "d.pth"


def test_exits_numbered_in_their_order_are_given_their_blocks(tmp_path: Path) -> None:
    """The file does not say them; a margin around the crop as the flat family has."""
    model = _model("gfnet-dynn", depth=6, exit_blocks=(1, 4))
    converted = convert(_published(tmp_path), ImportChanges(exit_blocks=(1, 4))).model
    images = torch.randn(2, 3, 16, 16)
    assert converted.config == model.config
    assert converted.metadata.preprocessing == Preprocessing(18, 16)
    assert torch.equal(converted.forward_exits(images).logits, model.forward_exits(images).logits)


@pytest.mark.parametrize(
    ("exits", "message"),
    [
        (None, r"d\.pth: it has 2 exits, .* which blocks they are; .* --exit-blocks 0,1"),
        ((1,), r"it has 2 exits, but 1 blocks are named for them \(1\): name the block of each"),
        ((1, 2, 4), r"it has 2 exits, but 3 blocks are named for them \(1,2,4\)"),
        ((4, 1), r"exit_blocks \[4, 1\]: list each once, in ascending order"),
        ((1, 1), r"list each once"),
        ((1, 5), r"a model of 6 blocks can exit early after blocks 0\.\.4"),
    ],
)
def test_exits_that_the_file_does_not_have_are_refused(
    tmp_path: Path, exits: tuple[int, ...] | None, message: str
) -> None:
    """None named, fewer, more, out of order, twice, after the last block."""
    with pytest.raises(CheckpointError, match=message):
        convert(_published(tmp_path), ImportChanges(exit_blocks=exits))


def test_the_example_is_that_of_the_published_files(tmp_path: Path) -> None:
    """Four exits in twelve blocks follow every second one."""
    path = _published(tmp_path, depth=12, exit_blocks=(2, 3, 4, 5))
    with pytest.raises(CheckpointError, match=r"it has 4 exits, .* --exit-blocks 3,5,7,9"):
        convert(path, ImportChanges())


@pytest.mark.parametrize("family", ["gfnet-dynn", "gfnet-distil-dynn"])
@pytest.mark.parametrize(
    ("left_out", "held"),
    [("gates.1", "2 exits, and 1 gate:"), ("intermediate_heads.", "0 exits, and 2 gates")],
)
def test_some_exits_without_a_gate_are_refused(
    tmp_path: Path, family: str, left_out: str, held: str
) -> None:
    """Which of the two are missing is said."""
    state = _model(family).state_dict()
    kept = {name: tensor for name, tensor in state.items() if not name.startswith(left_out)}
    torch.save({"model": kept}, tmp_path / "m.pth")
    with pytest.raises(CheckpointError, match=f"heads for {held}.*either each or none a gate"):
        convert(tmp_path / "m.pth", ImportChanges(exit_blocks=(0, 1)))


@pytest.mark.parametrize("family", ["gfnet", "gfnet-dynn"])
def test_a_side_with_a_remainder_is_what_one_asks_for(tmp_path: Path, family: str) -> None:
    """No shape shows the pixels that are in no patch; the weights stay as they are."""
    model = _model(family, img_size=19)
    torch.save(model.state_dict(), tmp_path / "m.pth")
    exits = model.config.exit_blocks or None
    plain = convert(tmp_path / "m.pth", ImportChanges(exit_blocks=exits))
    assert plain.model.config.img_size == 16
    asked = convert(tmp_path / "m.pth", ImportChanges(img_size=19, exit_blocks=exits))
    assert asked.model.config == model.config
    (note,) = asked.notes
    assert note.startswith("of an image's 19 px per side, 4 patches of 4 px are read, as a conv")
    assert asked.model.metadata.preprocessing == Preprocessing(21, 19)
    images = torch.randn(2, 3, 19, 19)
    assert torch.equal(asked.model(images), model(images))
    assert torch.equal(asked.model(images), plain.model(images[..., :16, :16]))


def test_weights_that_are_not_finite_are_named(tmp_path: Path) -> None:
    """Of an exit too."""
    model = _model("gfnet-dynn")
    torch.nn.init.constant_(model.get_submodule("gates.1.linear").get_parameter("bias"), torch.nan)
    torch.nn.init.constant_(model.head.bias, torch.inf)
    torch.save(model.state_dict(), tmp_path / "m.pth")
    said = r"not finite: .*head\.bias \(7 infinite of 7\).*gates\.1\.linear\.bias \(1 NaN of 1\)"
    with pytest.raises(CheckpointError, match=said):
        convert(tmp_path / "m.pth", ImportChanges(exit_blocks=(0, 1)))


def _own(tmp_path: Path) -> tuple[Path, Metadata]:
    """A checkpoint of this package that says all there is to say."""
    model = _model("gfnet-distil-dynn", exit_blocks=(0, 1))
    names = tuple("abcdefg")
    preprocessing = Preprocessing(20, 16, "bilinear", (0.5, 0.4, 0.3), (0.2, 0.2, 0.2))
    metadata = Metadata(model.config, preprocessing, names, (0.7, 0.6), {"epochs": 3})
    save_checkpoint(model, tmp_path / "own.safetensors", metadata)
    return tmp_path / "own.safetensors", metadata


def test_what_a_checkpoint_says_of_itself_is_kept(tmp_path: Path) -> None:
    """At another size too, where the margin around the crop keeps its proportion."""
    path, metadata = _own(tmp_path)
    assert convert(path, ImportChanges()).model.metadata == metadata
    resized = convert(path, ImportChanges(img_size=24)).model.metadata
    assert (resized.config.img_size, resized.config.exit_blocks) == (24, (0, 1))
    assert (resized.class_names, resized.thresholds) == (metadata.class_names, (0.7, 0.6))
    assert resized.preprocessing == replace(metadata.preprocessing, size=30, crop=24)


def test_a_margin_that_no_image_can_have_is_refused(tmp_path: Path) -> None:
    """A header that crops 16 pixels of 65,536 would have larger images resized to more."""
    path, metadata = _own(tmp_path)
    model = _model("gfnet-distil-dynn", exit_blocks=(0, 1))
    odd = replace(metadata, preprocessing=Preprocessing(65536, 16))
    save_checkpoint(model, path, odd)
    with pytest.raises(CheckpointError, match=r"own\.safetensors: preprocessing.size 98304 is not"):
        convert(path, ImportChanges(img_size=24))


def test_only_exits_that_were_trained_can_be_kept(tmp_path: Path) -> None:
    """With their thresholds; another is refused."""
    path, metadata = _own(tmp_path)
    narrowed = convert(path, ImportChanges(img_size=24, exit_blocks=(1,))).model.metadata
    assert (narrowed.config.exit_blocks, narrowed.thresholds) == ((1,), (0.6,))
    other = replace(metadata, config=replace(metadata.config, exit_blocks=(1,)), thresholds=())
    save_checkpoint(_model("gfnet-distil-dynn", exit_blocks=(1,)), path, other)
    with pytest.raises(CheckpointError, match="were not trained"):
        convert(path, ImportChanges(exit_blocks=(0, 1)))


def test_metadata_that_is_not_whole_is_refused(tmp_path: Path) -> None:
    """Rather than guessed around."""
    save_file(_model().state_dict(), tmp_path / "m.safetensors", {METADATA_KEY: "{}"})
    with pytest.raises(CheckpointError, match=r"m\.safetensors: its metadata has format None"):
        convert(tmp_path / "m.safetensors", ImportChanges())


@pytest.mark.parametrize("family", ["gfnet-dynn", "gfnet-h", "gfnet-distil-dynn"])
def test_exits_without_gates_exit_by_confidence(tmp_path: Path, family: str) -> None:
    """Of every family with exits: imported, saved, read and routed by the largest probability."""
    torch.manual_seed(0)
    hierarchical = STAGES | {"img_size": 32, "exit_blocks": (0, 2)}
    model = create(family, **hierarchical) if family == "gfnet-h" else _model(family)
    model = with_rule(model, "max_prob")
    blocks = model.config.exit_blocks
    state = {key: value for key, value in model.state_dict().items() if "gates." not in key}
    torch.save({"model": state}, tmp_path / "m.pth")
    converted = convert(tmp_path / "m.pth", ImportChanges(exit_blocks=blocks)).model
    assert (converted.config.has_gates, converted.config.exit_blocks) == (False, blocks)
    save_checkpoint(converted, tmp_path / "m.safetensors")
    loaded = load_checkpoint(tmp_path / "m.safetensors")
    assert loaded.config == converted.config
    side = model.config.img_size
    images = torch.randn(5, 3, side, side, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        limit = model.forward_exits(images).gate_scores.median().item()
        expected, found = model.route(images, limit), loaded.route(images, limit)
    for one, other in zip(expected, found, strict=True):
        torch.testing.assert_close(one, other, equal_nan=True)
    with pytest.raises(ValueError, match="its exits have no gates; rules: max_prob"):
        with_rule(loaded, "gate")
