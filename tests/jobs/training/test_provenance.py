"""What gfnet/zoo/README.md says of each bundled checkpoint: digest, recipe, images, accuracy."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

import gfnet
import storage
from gfnet.tensors import read_header

REPOSITORY = Path(__file__).parents[3]
ZOO = REPOSITORY / "gfnet" / "zoo"
PAGE = (ZOO / "README.md").read_text(encoding="utf-8")
INFOS = {name: gfnet.inspect_checkpoint(path) for name, path in gfnet.bundled().items()}
TYPES = {"F16": "float16", "F32": "float32"}

GRID = """\
models: [digits-gfnet, digits-distil, digits-dynn]
datasets: [digits]
thresholds: [0.5]
threads: [1]
measure: [accuracy]
"""


def weight_types(path: Path) -> str:
    """The types of a checkpoint's tensors."""
    header = json.loads(read_header(path)[0][8:])  # after its length
    return ", ".join({TYPES[each["dtype"]] for each in header.values() if "dtype" in each})


def row_of(name: str) -> str:
    """The row of a checkpoint, all but its last cell, from what its file says."""
    training = INFOS[name].metadata.training
    recipe, parent = training["recipe"], training.get("parent")
    cells = (
        f"`{name}`",
        f"[{recipe}](../../examples/train/{recipe}.yaml)",
        f"`{parent['name']}` {parent['sha256'][:8]}" if parent else "–",
        f"{training['best_epoch']} of {training['epochs']}",
        str(training["seed"]),
        weight_types(INFOS[name].path),
        f"{training['validation_accuracy']:.2f}",
    )
    return f"| {' | '.join(cells)} |"


def accuracies() -> dict[str, str]:
    """The last cell of each row: what it got right of the test images."""
    return dict(re.findall(r"^\| `([\w-]+)` \| \[.* ([\d.]+) \|$", PAGE, re.MULTILINE))


def test_the_page_has_the_digest_of_every_file() -> None:
    """In the format of sha256sum, and of no other file."""
    (block,) = re.findall(r"```text\n(.*?)```", PAGE, re.DOTALL)
    assert block == "".join(f"{info.sha256}  {name}.safetensors\n" for name, info in INFOS.items())


@pytest.mark.parametrize("name", INFOS)
def test_the_page_says_what_the_metadata_say(name: str) -> None:
    """Recipe, parent, epochs, seed, and the accuracy on held-out images."""
    assert row_of(name) in PAGE
    assert (REPOSITORY / f"examples/train/{INFOS[name].metadata.training['recipe']}.yaml").is_file()
    assert f"{INFOS[name].metadata.training['gfjobs']};" in PAGE


def test_every_parent_is_bundled_or_explained() -> None:
    """A parent that is no longer bundled is named in the text below the table."""
    bundled = {info.sha256 for info in INFOS.values()}
    parents = {info.metadata.training.get("parent", {}).get("sha256") for info in INFOS.values()}
    (gone,) = parents - bundled - {None}
    assert f"{gone[:8]}, is what" in " ".join(PAGE.split())


@pytest.mark.parametrize("name", INFOS)
def test_the_page_has_the_images(name: str) -> None:
    """By their digest, with how many of them were held out."""
    training = INFOS[name].metadata.training
    held_out, fraction = training["validation"]["images"], training["validation"]["fraction"]
    (learned, held) = re.findall(
        rf"^\| `{training['dataset']}` \| ([\d,]+), ([\d,]+) \| {training['dataset_sha256']} \|$",
        PAGE,
        re.MULTILINE,
    )[0]
    assert held == f"{held_out:,}"
    of_all = held_out / (held_out + int(learned.replace(",", "")))
    assert of_all == pytest.approx(fraction, abs=0.002)


def test_the_digits_are_those_that_are_embedded() -> None:
    """All 1,347 of the training split, by digest."""
    digits = storage.open_images("digits", "train")
    assert f"| `digits` | 1,144, 203 | {digits.sha256} |" in PAGE
    assert len(digits) == 1_144 + 203


def test_the_page_has_the_accuracies_of_the_readme() -> None:
    """The README shows one ladder, and the page about the first run the other."""
    text = "".join(
        (REPOSITORY / page).read_text("utf-8") for page in ("README.md", "docs/start.md")
    )
    digits = re.findall(r"^ (digits-[\w-]+) +[\d.]+k +\S+ +([\d.]+) ", text, re.MULTILINE)
    cifar10 = re.findall(r"^\| `(cifar10-[\w-]+)`, [^|]+ \| ([\d.]+) \|", text, re.MULTILINE)
    assert accuracies() == dict(digits) | dict(cifar10)
    assert accuracies().keys() == INFOS.keys()


def test_the_page_about_training_has_the_blocks_of_the_checkpoint() -> None:
    """Mean blocks of the validation images, as the training wrote them."""
    page = (REPOSITORY / "docs/training.md").read_text(encoding="utf-8")
    blocks = INFOS["cifar10-dynn"].metadata.training["validation_blocks"]
    assert re.search(rf"\(the last at {blocks:.2f} of\s9 blocks\)", page)


def test_the_digits_ladder_has_these_accuracies(ran: Callable[[str], Path]) -> None:
    """Of the 450 test images, computed now; the ladder has the one with exits at full depth."""
    root, found = ran(GRID), {}
    for table in ("ladder", "at_threshold(0.5)"):
        for row in storage.query(root, f"select model, acc1 from {table}").to_pylist():  # noqa: S608 - two names
            found[row["model"]] = f"{row['acc1']:.2f}"
    assert found == {name: acc1 for name, acc1 in accuracies().items() if "digits" in name}
