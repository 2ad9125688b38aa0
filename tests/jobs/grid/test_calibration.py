"""The key `calibration`: which images int8 takes its ranges from, and what is refused."""

from __future__ import annotations

from collections.abc import Callable

import pytest

import storage
from jobs.common.errors import BadInputError
from jobs.grid.grid import Grid
from jobs.plan.estimate import Estimate
from jobs.plan.plan import make_plan
from jobs.plan.view import describe_plan

BASE = "models: [flat.safetensors, dynn.safetensors]\ndatasets: [digits]\nruntimes: [onnx]\n"
INT8 = f"{BASE}precisions: [float32, int8]\n"


def test_it_is_the_training_images_unless_told_otherwise(
    write_grid: Callable, read: Callable[..., Grid]
) -> None:
    """512 of them."""
    used = read(write_grid(INT8 + "calibration: {dataset: digits}\n")).calibration
    assert used is not None
    assert (used.images.name, used.images.split, used.count) == ("digits", "train", 512)
    assert used.images.sha256 == storage.open_images("digits", "train").sha256
    fewer = read(write_grid(INT8 + "calibration: {dataset: digits, images: 7}\n")).calibration
    assert fewer is not None
    assert fewer.count == 7


WRONG = [
    (
        "{dataset: digits, split: test, images: 7}",
        "digits/test has the images of digits, which the grid",
    ),
    ("{dataset: digits, images: 0}", "'0'"),
    ("{dataset: digits, images: 10001}", "a whole number from 1 to 10000"),
    ("{dataset: digits, images: 5000}", "has 1,347 images, and 5,000 are asked for to calibrate"),
    ("{dataset: digts}", "digts"),
    ("{dataset: digits, split: dev}", "no split 'dev'"),
    ("{images: 5}", "the key dataset is missing"),
    ("{dataset: digits, limit: 5}", "unknown key"),
    ("digits", "a mapping with the keys dataset"),
]


@pytest.mark.parametrize(("value", "words"), WRONG)
def test_each_wrong_value_is_named(
    value: str, words: str, write_grid: Callable, read: Callable[..., Grid]
) -> None:
    """Images that are tested must not calibrate: their figures would be of images it has seen."""
    with pytest.raises(BadInputError) as caught:
        read(write_grid(f"{INT8}calibration: {value}\n"))
    message = str(caught.value)
    assert words in message
    assert ":5: calibration" in message
    assert "allowed: " in message


def test_it_is_there_where_int8_is_and_nowhere_else(
    write_grid: Callable, read: Callable[..., Grid]
) -> None:
    """A key without effect would be a mistake that nobody sees."""
    with pytest.raises(BadInputError, match="int8 without `calibration`"):
        read(write_grid(INT8))
    with pytest.raises(BadInputError, match="`calibration` where no checkpoint runs in int8"):
        read(write_grid(BASE + "calibration: {dataset: digits}\n"))


def test_only_cells_in_int8_have_it(write_grid: Callable, read: Callable[..., Grid]) -> None:
    """Other cells keep the ids that they had, and other images are other cells."""
    plain = make_plan(read(write_grid(BASE))).cells
    grids = [f"{INT8}calibration: {{dataset: digits, images: {count}}}\n" for count in (7, 8)]
    seven, eight = (make_plan(read(write_grid(grid))).cells for grid in grids)
    ids = [{cell.cell_id for cell in cells} for cells in (plain, seven, eight)]
    assert ids[1] & ids[2] == ids[0]
    said = describe_plan(make_plan(read(write_grid(grids[0]))), Estimate(0, 0, 1))
    assert "int8: ranges from 7 images of digits/train\n" in said
    for cell in seven:
        assert (cell.calibration is not None) == (cell.setting.precision == "int8")
        assert not cell.skipped


def test_int8_of_torch_is_skipped_when_planned(
    write_grid: Callable, read: Callable[..., Grid]
) -> None:
    """It has no such graph."""
    grid = INT8.replace("[onnx]", "[torch]") + "calibration: {dataset: digits}\n"
    skipped = {
        cell.setting.precision: cell.skipped for cell in make_plan(read(write_grid(grid))).cells
    }
    assert skipped["float32"] is None
    assert skipped["int8"] == "runtime torch supports float32, bfloat16 and float16, not int8"
