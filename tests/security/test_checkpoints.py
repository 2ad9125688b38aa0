"""Checkpoints that were made to harm: code in pickles, and sizes that nobody has memory for."""

from __future__ import annotations

import io
import json
import os
import pickle
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner

import gfnet
from gfnet.convert import ImportChanges, convert
from jobs.cli import main

SIZES = {"img_size": 8, "patch_size": 4, "embed_dim": 4, "depth": 2, "num_classes": 3}


class Harmful:
    """Makes a file where it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        """What a pickle runs."""
        return os.system, (f"touch {self.path}",)


@pytest.mark.parametrize("is_zip", [True, False])
@pytest.mark.parametrize("wrap", [lambda x: x, lambda x: {"model": x}, lambda x: {"a": [x]}])
@pytest.mark.filterwarnings("ignore")
def test_code_in_a_pickle_is_not_run(
    wrap: Callable[[Any], Any], tmp_path: Path, *, is_zip: bool
) -> None:
    """Neither by a plan, a worker nor an import; each says what was refused."""
    made, path = tmp_path / "made", tmp_path / "x.pth"
    torch.save(wrap(Harmful(made)), path, _use_new_zipfile_serialization=is_zip)
    for read in (
        gfnet.inspect_checkpoint,
        gfnet.load_checkpoint,
        lambda p: convert(p, ImportChanges()),
    ):
        with pytest.raises(gfnet.CheckpointError, match="could run code, so it was not opened"):
            read(path)
    done = CliRunner().invoke(main, ["import", str(path), "-o", str(tmp_path / "o.safetensors")])
    assert done.exit_code == 2
    assert "could run code" in done.output
    assert not made.exists()
    with pytest.raises(AttributeError):
        pickle.loads(pickle.dumps(Harmful(made))).x  # noqa: B018, S301 - it would have been made
    assert made.exists()


def test_an_archive_that_unpacks_to_more_than_it_holds(tmp_path: Path) -> None:
    """A zip bomb: 10 MB of zeros in 10 kB."""
    path = tmp_path / "bomb.pth"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", pickle.dumps({}, 2))
        archive.writestr("archive/data/0", bytes(10_000_000))
    with pytest.raises(gfnet.CheckpointError, match="decompression bomb"):
        gfnet.inspect_checkpoint(path)


def test_members_of_an_archive_lead_nowhere(tmp_path: Path) -> None:
    """Nothing is unpacked to a disk, whatever its members are called."""
    path = tmp_path / "deep" / "x.pth"
    path.parent.mkdir()
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("../../escaped", b"x")
        archive.writestr("archive/data.pkl", pickle.dumps({}, 2))
    with pytest.raises(gfnet.CheckpointError):
        gfnet.inspect_checkpoint(path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["deep"]


def test_views_of_one_number_are_no_weights(tmp_path: Path) -> None:
    """A tensor of stride 0 has any shape, and a model of it any size."""
    state = gfnet.create("gfnet", **SIZES).state_dict()
    state["pos_embed"] = torch.zeros(1).expand(1, 4, 10_000_000)
    torch.save(state, tmp_path / "x.pth")
    with pytest.raises(gfnet.CheckpointError, match="some share their numbers"):
        gfnet.inspect_checkpoint(tmp_path / "x.pth")


def test_tensors_without_numbers_are_no_weights(tmp_path: Path) -> None:
    """Those of torch's device `meta` have a shape alone."""
    torch.save({"pos_embed": torch.zeros(1, 10**9, 10**6, device="meta")}, tmp_path / "x.pth")
    with pytest.raises(gfnet.CheckpointError, match="not dense floating-point"):
        gfnet.inspect_checkpoint(tmp_path / "x.pth")


def rewritten(path: Path, change: Callable[[dict[str, Any], dict[str, Any]], object]) -> Path:
    """A checkpoint whose header, and what it says of itself, are changed."""
    gfnet.save_checkpoint(gfnet.create("gfnet", **SIZES), path)
    data = path.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + length])
    said = json.loads(header["__metadata__"]["gfnet"])
    change(header, said)
    header["__metadata__"]["gfnet"] = json.dumps(said)
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data[8 + length :])
    return path


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda h, _: h["pos_embed"].update(shape=[1, 2**40, 4]), "do not match their shapes"),
        (lambda h, _: h["pos_embed"].update(shape=[1] * 10_000), "header is not that of"),
        (lambda h, _: h["norm.bias"].update(h["norm.weight"]), "overlap, or leave gaps"),
        (
            lambda _, s: s["config"].update(img_size=65536, filter_grid=[2**14] * 2),
            "parameters; at most",
        ),
        (lambda _, s: s["preprocessing"].update(size=10**12), "from 1 to 65536"),
        (lambda _, s: s["preprocessing"].update(size=9000, crop=9000), "cropped to 9000 pixels"),
        (lambda _, s: s["preprocessing"].update(mean=[10**400, 0, 0]), "not three finite numbers"),
    ],
)
def test_claims_are_held_to_the_file(
    change: Callable[[dict[str, Any], dict[str, Any]], object], said: str, tmp_path: Path
) -> None:
    """A header of a few bytes must not make a model, or an image, of gigabytes."""
    path = rewritten(tmp_path / "x.safetensors", change)
    with pytest.raises(gfnet.CheckpointError, match=said):
        gfnet.inspect_checkpoint(path)


def test_a_header_longer_than_any(tmp_path: Path) -> None:
    """It is refused before it is parsed."""
    text = b'{"a":"' + b"x" * (17 * 2**20) + b'"}'
    (tmp_path / "x.safetensors").write_bytes(struct.pack("<Q", len(text)) + text)
    with pytest.raises(gfnet.CheckpointError, match="is more than"):
        gfnet.inspect_checkpoint(tmp_path / "x.safetensors")


def test_pipes_and_devices_are_not_read(tmp_path: Path) -> None:
    """A pipe would be waited for, and /dev/zero has no end."""
    os.mkfifo(tmp_path / "pipe.pth")
    for path in (tmp_path / "pipe.pth", Path("/dev/zero")):
        with pytest.raises(gfnet.CheckpointError, match="not a regular file"):
            gfnet.inspect_checkpoint(path)


def test_a_file_larger_than_any_model(tmp_path: Path) -> None:
    """One of holes: 5 GiB that take no place."""
    with (tmp_path / "x.safetensors").open("wb") as file:
        file.truncate(5 * 2**30)
    with pytest.raises(gfnet.CheckpointError, match="a checkpoint may have at most 4,294,967,296"):
        gfnet.inspect_checkpoint(tmp_path / "x.safetensors")


def test_an_import_to_a_size_that_nobody_has_memory_for(tmp_path: Path) -> None:
    """`--img-size` is bounded by the parameters that it would make."""
    gfnet.save_checkpoint(gfnet.create("gfnet", **SIZES), tmp_path / "x.safetensors")
    command = ["import", str(tmp_path / "x.safetensors"), "-o", str(tmp_path / "o.safetensors")]
    done = CliRunner().invoke(main, [*command, "--img-size", "60000"])
    assert done.exit_code == 2
    assert "parameters; at most 536,870,912" in done.output


def test_numbers_of_a_pickle_are_read_whole() -> None:
    """What torch.save writes is not refused by any of this."""
    model = gfnet.create("gfnet", **SIZES)
    buffer = io.BytesIO()
    torch.save({"model": model.state_dict()}, buffer)
    again = gfnet.load_checkpoint(buffer.getvalue())
    assert torch.equal(again.pos_embed, model.pos_embed)
