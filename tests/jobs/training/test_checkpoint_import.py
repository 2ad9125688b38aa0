"""The import command: what it shows, what it writes, what it refuses."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from click.testing import CliRunner, Result

import gfnet
from jobs.cli import main
from jobs.common.errors import UsageError
from jobs.training.checkpoint_import import Importing, import_checkpoint


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A state dict of a distilled model with exits, as a script leaves it."""
    model = gfnet.create(
        "gfnet-distil-dynn", img_size=16, patch_size=4, embed_dim=8, depth=3, num_classes=3
    )
    torch.save({"model": model.state_dict(), "epoch": 3}, tmp_path / "dynn.pth")
    return tmp_path / "dynn.pth"


def _run(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["import", *map(str, arguments)])


def test_it_shows_what_it_inferred_and_writes_a_checkpoint(source: Path, tmp_path: Path) -> None:
    """The metadata is what the user said, and where the weights came from."""
    output = tmp_path / "new" / "dynn.safetensors"
    options = ("--exit-blocks", "1", "--classes", "ant, bee, cat", "--mean", "0.5,0.5,0.5")
    result = _run(source, "-o", output, *options, "--interpolation", "bilinear")
    assert result.exit_code == 0, result.output
    for part in ("gfnet-distil-dynn", "18, viewed as 3 x 6", "3, ant to cat", "[1]", "bilinear"):
        assert part in result.stdout
    assert "taken from the key 'model'; left out: epoch" in result.stderr
    assert "gfjobs plan GRID" in result.stderr
    metadata = gfnet.inspect_checkpoint(output).metadata
    assert metadata.class_names == ("ant", "bee", "cat")
    assert metadata.config.exit_blocks == (1,)
    assert metadata.preprocessing == gfnet.Preprocessing(16, 16, "bilinear", mean=(0.5, 0.5, 0.5))
    assert metadata.training["imported"] == "dynn.pth"


def test_the_flat_family_is_prepared_as_published(tmp_path: Path) -> None:
    """Resized to 8/7 of the crop, bicubic, ImageNet's colours; class names from a file."""
    model = gfnet.create("gfnet", img_size=28, patch_size=4, embed_dim=8, depth=1, num_classes=2)
    torch.save(model.state_dict(), tmp_path / "xs.pth")
    (tmp_path / "names.txt").write_text("ant\n\nbee\n", encoding="utf-8")
    output = tmp_path / "xs.safetensors"
    result = _run(tmp_path / "xs.pth", "-o", output, "--classes", tmp_path / "names.txt")
    assert result.exit_code == 0, result.output
    metadata = gfnet.inspect_checkpoint(output).metadata
    assert metadata.preprocessing == gfnet.Preprocessing(32, 28)
    assert metadata.class_names == ("ant", "bee")


def test_an_output_that_is_there_is_kept(source: Path, tmp_path: Path) -> None:
    """Unless it is to be replaced."""
    output = tmp_path / "there.safetensors"
    output.write_text("mine", encoding="utf-8")
    options = (source, "-o", output, "--exit-blocks", "0,1")
    result = _run(*options)
    assert (result.exit_code, output.read_text(encoding="utf-8")) == (2, "mine")
    assert "--force" in result.stderr
    assert _run(*options, "--force").exit_code == 0
    assert gfnet.load_checkpoint(output).config.exit_blocks == (0, 1)


def test_by_default_it_lies_in_checkpoints_and_a_grid_can_name_it(
    ladder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Under the name of its file, shown within 80 columns; it plans like any path."""
    monkeypatch.chdir(tmp_path)
    torch.save({"model": gfnet.load_checkpoint(ladder / "flat.safetensors").state_dict()}, "xs.pth")
    result = _run("xs.pth")
    assert result.exit_code == 0, result.output
    assert max(map(len, result.stdout.splitlines())) <= 80
    grid = "models: [checkpoints/xs.safetensors]\ndatasets: [digits]\n"
    Path("grid.yaml").write_text(grid, encoding="utf-8")
    planned = CliRunner().invoke(main, ["plan", "grid.yaml"])
    assert planned.exit_code == 0, planned.output
    assert "xs" in planned.stdout


def test_a_checkpoint_keeps_what_it_says_unless_told_otherwise(tmp_path: Path) -> None:
    """A bundled one resampled: its classes stay, its origin is noted beside its training."""
    bundled, output = gfnet.bundled()["digits-dynn"], tmp_path / "larger.safetensors"
    result = _run(bundled, "-o", output, "--img-size", 20, "--mean", "0.4,0.4,0.4")
    assert result.exit_code == 0, result.output
    before = gfnet.inspect_checkpoint(bundled).metadata
    after = gfnet.inspect_checkpoint(output).metadata
    assert after.config.exit_blocks == before.config.exit_blocks
    assert after.class_names == before.class_names
    assert after.preprocessing == gfnet.Preprocessing(
        20, 20, "bicubic", (0.4, 0.4, 0.4), before.preprocessing.std
    )
    assert set(after.training) == {*before.training, "imported", "sha256"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ((), "name them, for example --exit-blocks 7,9,10"),
        (("--exit-blocks", "x"), "'x'; give some whole numbers"),
        (("--exit-blocks", "0", "--classes", "a,b"), "names 2 classes"),
        (("--exit-blocks", "0", "--classes", "nofile"), "not a file that can be read"),
        (("--exit-blocks", "0", "--mean", "1,2"), "'1,2'; give 3 numbers"),
        (("--exit-blocks", "0", "--std", "0,1,1"), "is not positive"),
        (("--exit-blocks", "0", "--mean", "nan,0,0"), "is not three finite numbers"),
        (("--exit-blocks", "0", "--resize", "8"), "crop 16 is more than size 8"),
        (("--exit-blocks", "0", "--filter-grid", "5"), "'5'; give 2 whole numbers"),
    ],
)
def test_a_mistake_is_said_and_nothing_is_written(
    source: Path, tmp_path: Path, options: tuple[str, ...], message: str
) -> None:
    """Exit code 2, with what to do."""
    result = _run(source, "-o", tmp_path / "m.safetensors", *options)
    assert result.exit_code == 2, result.output
    assert message in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["dynn.pth"]


def test_classes_of_a_file_with_a_byte_order_mark(source: Path, tmp_path: Path) -> None:
    """As editors on Windows write it: the mark is no part of the first name."""
    names = tmp_path / "classes.txt"
    names.write_bytes(b"\xef\xbb\xbf" + b"zero\r\none\r\ntwo\r\n\r\n")
    output = tmp_path / "out.safetensors"
    options = ("--exit-blocks", "0", "--classes", names, "--exif", "apply")
    result = _run(source, "-o", output, *options)
    assert result.exit_code == 0, result.output
    metadata = gfnet.inspect_checkpoint(output).metadata
    assert metadata.class_names == ("zero", "one", "two")
    assert metadata.preprocessing.exif == "apply"


def test_a_class_that_is_named_twice(source: Path, tmp_path: Path) -> None:
    """Which label it has could not be said."""
    names = tmp_path / "classes.txt"
    names.write_text("a\nb\na\n", encoding="utf-8")
    for classes, said in ((names, "twice, in lines 1 and 3"), ("a,b, a", "a class twice: a")):
        options = ("--exit-blocks", "0", "--classes", classes)
        result = _run(source, "-o", tmp_path / "out.safetensors", *options)
        assert result.exit_code == 2
        assert f"{said}; each has one label" in result.stderr


def test_classes_in_utf_16(source: Path, tmp_path: Path) -> None:
    """As PowerShell writes a list of folders."""
    names = tmp_path / "classes.txt"
    names.write_text("a\nb\n", encoding="utf-16")
    result = _run(source, "-o", tmp_path / "out.safetensors", "--classes", names)
    assert result.exit_code == 2
    assert "text in UTF-16, as PowerShell writes it: save it as UTF-8" in result.stderr


def test_an_output_is_named_as_what_it_is(tmp_path: Path) -> None:
    """Safetensors under the suffix of a pickle would be read as one."""
    with pytest.raises(UsageError, match=r"a path that ends in \.safetensors"):
        import_checkpoint(Importing(tmp_path / "a.pth", tmp_path / "b.pth"))
