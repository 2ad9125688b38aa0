"""The export command: what it shows, what it writes, what it refuses."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from click.testing import CliRunner, Result
from support import bundles

import gfnet
import storage
from gfnet.bundle import export
from gfnet.bundle.precisions import Tolerance
from jobs.cli import main


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of one block: an export takes seconds."""
    torch.manual_seed(0)
    path: Path = tmp_path_factory.mktemp("c") / "my model.safetensors"
    model = gfnet.create("gfnet", img_size=8, patch_size=4, embed_dim=4, depth=1, num_classes=10)
    gfnet.save_checkpoint(model, path)
    return path


def _run(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["export", *map(str, arguments)])


def test_it_says_how_it_was_checked_and_writes_a_bundle(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The digest that it shows is the reader's; an existing bundle is replaced only by force."""
    monkeypatch.chdir(tmp_path)  # a long path is shown whole, however wide the terminal
    output = Path("b")
    result = _run(checkpoint, "-o", output)
    assert result.exit_code == 0, result.output
    bundle = gfnet.load_bundle(output)
    for part in ("my-model", "float32", bundle.digest):
        assert part in result.stdout
    assert max(map(len, result.stdout.splitlines())) <= 80
    assert "compared with the checkpoint by ONNX Runtime on 64 scanned digits" in result.stderr
    assert bundle.manifest.origin.endswith(gfnet.inspect_checkpoint(checkpoint).sha256)
    again = _run(checkpoint, "-o", output)
    assert (again.exit_code, "add --force" in again.stderr) == (2, True)
    assert _run(checkpoint, "-o", output, "--force").exit_code == 0


def test_a_failed_comparison_leaves_nothing(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is written before it has passed."""
    nothing = Tolerance(logits=-1, relative=-1, scores=0)
    monkeypatch.setitem(export.BUNDLE_PRECISIONS, "float32", nothing)
    result = _run(checkpoint, "-o", tmp_path / "new" / "b.gfbundle")
    assert result.exit_code == 2
    assert "a logit differs from the checkpoint's by" in result.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("nothing.safetensors", "-o", "b"), "'nothing.safetensors': there is no such file; give"),
        (("digits-dyn", "-o", "b"), "no such file; did you mean 'digits-dynn'"),
        (("digits-dyn", "-o", "b"), "give a bundled checkpoint (cifar10-"),
        (("digits-dyn", "-o", "b"), "or the path of a .safetensors or .pth file"),
        (("n" * 300, "-o", "b"), "too long"),
        (("{folder}", "-o", "b"), "is a folder; give a bundled checkpoint ("),
        (("digits-dynn",), "Missing option '-o'"),
        (("digits-dynn", "-o", "b", "--precision", "int4"), "'int4' is not"),
        (("digits-dynn", "-o", __file__), "is a file; give a folder, or a name that ends in"),
    ],
)
def test_a_mistake_is_named(arguments: tuple[str, ...], words: str, tmp_path: Path) -> None:
    """Before anything is exported."""
    result = _run(*(each.format(folder=tmp_path) for each in arguments))
    assert result.exit_code == 2
    assert words in " ".join(result.output.split())


def test_a_bundle_is_not_exported_again(tmp_path: Path) -> None:
    """Folder or zip: a grid takes it as it is."""
    folder = bundles.write(tmp_path / "tiny", bundles.files())
    packed = tmp_path / "x.gfbundle"
    packed.write_bytes(bundles.zipped(bundles.files()))
    for source in (folder, packed):
        result = _run(source, "-o", tmp_path / "b")
        said = " ".join(result.output.split())
        assert result.exit_code == 2
        assert "is a bundle already: name it in a grid as it is, or give a bundled" in said
        assert "or the path of a .safetensors or .pth file" in said


def test_int8_is_calibrated_on_training_images(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The bundle says which; it runs in int8 as it is, and in nothing else."""
    monkeypatch.chdir(tmp_path)
    options = ("--precision", "int8", "--calibration", "digits", "--calibration-images", 32)
    result = _run(checkpoint, "-o", "b", *options)
    assert result.exit_code == 0, result.output
    assert "int8" in result.stdout
    bundle = gfnet.load_bundle(Path("b"))
    assert bundle.manifest.precision == "int8"
    train = storage.open_images("digits", "train").sha256
    assert bundle.manifest.origin.endswith(f"; int8 by 32 of {train}")
    model = gfnet.BundleModel(bundle)
    for name in ("onnx", "openvino"):
        assert model.runtime(name, threads=1) is model.runtime(name, threads=1, precision="int8")
    with pytest.raises(gfnet.UnavailableError, match="here int8, not float32"):
        model.runtime("onnx", precision="float32")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--precision", "int8"), "int8 takes its ranges from training images"),
        (("--calibration", "digits"), "only int8 is calibrated, not float32"),
        (("--precision", "int8", "--calibration", "digts"), "--calibration digts: "),
        (
            ("--precision", "int8", "--calibration", "digits", "--calibration-images", 9999),
            "has 1,347 images, and 9,999 are asked for to calibrate",
        ),
    ],
)
def test_a_calibration_that_cannot_be_is_refused(
    options: tuple[object, ...], words: str, checkpoint: Path, tmp_path: Path
) -> None:
    """Before anything is exported."""
    result = _run(checkpoint, "-o", tmp_path / "b", *options)
    assert (result.exit_code, list(tmp_path.iterdir())) == (2, [])
    assert words in result.stderr


def test_float16_says_how_far_it_is(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And is a bundle in float16 to whoever reads it."""
    monkeypatch.chdir(tmp_path)
    result = _run(checkpoint, "-o", "b.gfbundle", "--precision", "float16")
    assert result.exit_code == 0, result.output
    assert "(allowed 1.0e-02)" in result.stderr
    assert gfnet.load_bundle(Path("b.gfbundle")).manifest.precision == "float16"
