"""Recipes: read whole, or refused with every problem at its line and key."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

import gfnet
from gfnet.training.settings import Augmentation, EpochSchedule, ExitTraining, HoldOut, Teaching
from jobs.common.errors import BadInputError
from jobs.training.recipe import read_recipe
from jobs.training.recipe_keys import OPTIONAL

BASELINE: dict[str, Any] = {
    "name": "base",
    "stage": "baseline",
    "dataset": "digits",
    "validation": {"fraction": 0.15, "seed": 0},
    "model": {"img_size": 8, "patch_size": 4, "embed_dim": 8, "depth": 3},
    "preprocessing": {
        "size": 10,
        "interpolation": "bilinear",
        "mean": [0.5, 0.5, 0.5],
        "std": [0.25, 0.25, 0.25],
    },
    "augmentation": {"rotate_degrees": 10, "shift": 0.1, "scale": 0.2},
    "epochs": 4,
    "batch_size": 32,
    "learning_rate": 0.001,
    "weight_decay": 0.05,
    "warmup_epochs": 1,
    "label_smoothing": 0.1,
    "seed": 7,
    "threads": 2,
    "output": "out/base.safetensors",
}
_ONLY_BASELINE = ("model", "preprocessing", "label_smoothing")
_COMMON = {key: value for key, value in BASELINE.items() if key not in _ONLY_BASELINE}
STUDENT = _COMMON | {
    "stage": "distillation",
    "model": BASELINE["model"] | {"filter_grid": [2, 3]},
    "teacher": "teacher.safetensors",
    "teaching": {"kind": "soft", "temperature": 3},
}
EXITS = _COMMON | {
    "stage": "exits",
    "start": "student.safetensors",
    "exit_blocks": [0, 1],
    "cost_weight": 0.7,
    "phase_epochs": 2,
}
STAGES: dict[str, Any] = {"img_size": 32, "embed_dims": (2, 3, 4, 5), "depths": (1, 1, 1, 1)}
REMOVED = object()


def _checkpoint(folder: Path, name: str, family: str, **changes: Any) -> None:
    sizes = {"img_size": 8, "patch_size": 4, "embed_dim": 8, "depth": 3, "num_classes": 10}
    training = changes.pop("training", {})
    if family == "gfnet-h":
        sizes = {"num_classes": 10}
    model = gfnet.create(family, **(sizes | changes))
    preprocessing = gfnet.Preprocessing(model.config.img_size + 2, model.config.img_size)
    metadata = gfnet.Metadata(model.config, preprocessing, training=training)
    gfnet.save_checkpoint(model, folder / name, metadata)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a teacher and a student of the digits' ten classes."""
    _checkpoint(tmp_path, "teacher.safetensors", "gfnet")
    _checkpoint(tmp_path, "student.safetensors", "gfnet-distil")
    _checkpoint(tmp_path, "grown.safetensors", "gfnet-dynn")
    _checkpoint(tmp_path, "stages.safetensors", "gfnet-h", **STAGES)
    _checkpoint(tmp_path, "grown-h.safetensors", "gfnet-h", exit_blocks=(0,), **STAGES)
    return tmp_path


def _write(folder: Path, recipe: dict[str, Any], **changes: Any) -> Path:
    content = {key: value for key, value in (recipe | changes).items() if value is not REMOVED}
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    return path


def _problems(folder: Path, recipe: dict[str, Any], **changes: Any) -> list[tuple[str, str, str]]:
    """Key, found and allowed of each problem."""
    with pytest.raises(BadInputError) as caught:
        read_recipe(_write(folder, recipe, **changes))
    return [(problem.key, problem.found, problem.allowed) for problem in caught.value.problems]


def test_a_baseline_is_read_whole(folder: Path) -> None:
    """Every key arrives where it belongs; the classes are the data set's."""
    recipe = read_recipe(_write(folder, BASELINE))
    assert (recipe.name, recipe.stage, recipe.threads) == ("base", "baseline", 2)
    assert (recipe.images.name, recipe.images.split) == ("digits", "train")
    assert recipe.validation == HoldOut(fraction=0.15, seed=0)
    assert recipe.config == gfnet.ModelConfig(
        "gfnet", img_size=8, patch_size=4, embed_dim=8, depth=3, num_classes=10
    )
    assert recipe.preprocessing == gfnet.Preprocessing(
        size=10, crop=8, interpolation="bilinear", mean=(0.5,) * 3, std=(0.25,) * 3
    )
    assert recipe.schedule == EpochSchedule(4, 32, 0.001, 0.05, warmup_epochs=1, seed=7)
    assert recipe.augmentation == Augmentation(rotate_degrees=10, shift=0.1, scale=0.2)
    assert recipe.label_smoothing == 0.1
    assert recipe.parent is None


def test_what_is_optional_may_be_left_out(folder: Path) -> None:
    """No augmentation, no smoothing, ImageNet's preprocessing at the model's size."""
    changes = dict.fromkeys(("augmentation", "preprocessing", "label_smoothing"), REMOVED)
    recipe = read_recipe(_write(folder, BASELINE, **changes))
    assert recipe.augmentation == Augmentation()
    assert (recipe.initial_filters, recipe.label_smoothing) == ("random", 0)
    assert (recipe.schedule.ema_decay, recipe.schedule.optimizer) == (0, "adamw")
    assert (recipe.precision, recipe.weights) == ("auto", "float32")
    assert recipe.preprocessing == gfnet.Preprocessing(size=8, crop=8)


def test_a_baseline_may_go_on_from_a_checkpoint(folder: Path) -> None:
    """Sizes and preprocessing are the start's, classes the data set's: an imported file, say."""
    _checkpoint(folder, "start.safetensors", "gfnet", num_classes=7)
    changes = {"model": REMOVED, "preprocessing": REMOVED, "start": "start.safetensors"}
    recipe = read_recipe(_write(folder, BASELINE, **changes))
    assert recipe.config == gfnet.ModelConfig("gfnet", 8, 4, 8, 3, num_classes=10)
    assert recipe.preprocessing.size == 10
    assert recipe.parent is not None


def test_everything_that_augments_can_be_asked_for(folder: Path) -> None:
    """And the average, the precision and the type on disk."""
    changes = {
        "trivial": True,
        "crop_padding": 2,
        "flips": ["horizontal", "vertical"],
        "erase": 0.25,
    }
    mixes = {"mixup": 0.2, "cutmix": 1}
    recipe = read_recipe(
        _write(
            folder,
            STUDENT,
            augmentation=changes | mixes,
            label_smoothing=0.1,
            ema_decay=0.99,
            initial_filters="blurs",
            optimizer="muon",
            precision="bfloat16",
            weights="float16",
        )
    )
    assert recipe.augmentation == Augmentation(
        crop_padding=2,
        flips=("horizontal", "vertical"),
        trivial=True,
        erase=0.25,
        mixup=0.2,
        cutmix=1.0,
    )
    assert (recipe.label_smoothing, recipe.schedule.ema_decay) == (0.1, 0.99)
    assert (recipe.initial_filters, recipe.schedule.optimizer) == ("blurs", "muon")
    assert (recipe.precision, recipe.weights) == ("bfloat16", "float16")


def test_a_student_sees_images_as_its_teacher_does(folder: Path) -> None:
    """Sizes are its own, the preprocessing is the teacher's."""
    recipe = read_recipe(_write(folder, STUDENT))
    assert (recipe.config.family, recipe.config.filter_grid) == ("gfnet-distil", (2, 3))
    assert recipe.teaching == Teaching("soft", temperature=3)
    assert recipe.parent is not None
    assert recipe.parent.path == folder / "teacher.safetensors"
    assert recipe.preprocessing == recipe.parent.metadata.preprocessing


@pytest.mark.parametrize(
    ("start", "family"), [("student", "gfnet-distil-dynn"), ("teacher", "gfnet-dynn")]
)
def test_exits_grow_on_the_start(folder: Path, start: str, family: str) -> None:
    """Sizes and preprocessing are the start's; the family is that with gates."""
    recipe = read_recipe(_write(folder, EXITS, start=f"{start}.safetensors"))
    assert recipe.config == gfnet.ModelConfig(
        family, 8, 4, 8, 3, num_classes=10, exit_blocks=(0, 1)
    )
    assert recipe.exits == ExitTraining(cost_weight=0.7, phase_epochs=2)
    assert recipe.preprocessing.size == 10


def test_a_hierarchical_model_may_be_the_start(folder: Path) -> None:
    """To go on with its classes replaced, and to get exits."""
    changes = {"model": REMOVED, "preprocessing": REMOVED, "start": "stages.safetensors"}
    going_on = read_recipe(_write(folder, BASELINE, **changes)).config
    assert (going_on.family, going_on.depths, going_on.exit_blocks) == ("gfnet-h", (1, 1, 1, 1), ())
    growing = read_recipe(_write(folder, EXITS, start="stages.safetensors")).config
    assert (growing.family, growing.exit_blocks) == ("gfnet-h", (0, 1))


def test_the_output_starts_from_the_recipes_folder(folder: Path) -> None:
    """Wherever the command is run."""
    assert read_recipe(_write(folder, BASELINE)).output == folder / "out" / "base.safetensors"


def test_a_bundled_checkpoint_can_be_named(folder: Path) -> None:
    """As in a grid."""
    sizes = {"img_size": 16, "patch_size": 2, "embed_dim": 8, "depth": 2}
    recipe = read_recipe(_write(folder, STUDENT, teacher="digits-gfnet", model=sizes))
    assert recipe.parent is not None
    assert recipe.parent.path == gfnet.bundled()["digits-gfnet"]


def test_all_problems_are_reported_at_once_with_their_lines(folder: Path) -> None:
    """Six mistakes in one file, in its order; the message names file, line and key."""
    path = _write(
        folder,
        BASELINE,
        dataset="digit",
        model={"img_size": 8, "patch_size": 9, "embed_dim": 8, "depth": "deep"},
        epochs=0,
        learning_rate="fast",
        weight_dekay=1,
    )
    with pytest.raises(BadInputError) as caught:
        read_recipe(path)
    lines = path.read_text(encoding="utf-8").splitlines()
    keys = [problem.key for problem in caught.value.problems]
    assert keys == ["dataset", "model", "model.depth", "epochs", "learning_rate", "weight_dekay"]
    for problem in caught.value.problems:
        if problem.key != "model":  # whose first size is on the next line
            assert problem.key.split(".")[-1] in lines[problem.line - 1]
    assert f"{path}:3: dataset: " in str(caught.value)


def test_an_unknown_key_names_the_nearest_known_one(folder: Path) -> None:
    """And which keys there are."""
    [(key, found, allowed)] = _problems(folder, BASELINE, epoch=3)
    assert (key, found) == ("epoch", "unknown key; did you mean 'epochs'?")
    assert "learning_rate" in allowed


def test_a_key_of_another_stage_is_unknown(folder: Path) -> None:
    """A baseline has no teacher: an option that would do nothing is refused."""
    [(key, found, _)] = _problems(folder, BASELINE, teacher="digits-gfnet")
    assert (key, found) == ("teacher", "unknown key")


@pytest.mark.parametrize("recipe", [BASELINE, STUDENT, EXITS], ids=lambda r: str(r["stage"]))
def test_every_key_but_the_optional_is_required(folder: Path, recipe: dict[str, Any]) -> None:
    """Each is missed by its name."""
    for key in recipe.keys() - set(OPTIONAL):
        found = [found for _, found, _ in _problems(folder, recipe, **{key: REMOVED})]
        assert f"the key {key} is missing" in found


@pytest.mark.parametrize("stage", ["baselin", ["baseline"], REMOVED])
def test_a_stage_that_is_unknown_says_which_there_are(folder: Path, stage: object) -> None:
    """Other problems are told with it; a key of any stage is none."""
    [(_, _, allowed)] = _problems(folder, BASELINE, stage=stage)
    assert "stage" in allowed or "baseline, distillation, exits" in allowed
    changes = {"epochs": 0, "colour": "red", "teacher": "nobody", "output": "x.pt"}
    sizes = BASELINE["model"] | {"depth": 0}
    found = _problems(folder, BASELINE, stage=stage, model=sizes, **changes)
    keys = ["model.depth", "epochs", "output", "colour", "teacher"]
    assert [key for key, _, _ in found if key not in {"", "stage"}] == keys
    assert len(found) == len(keys) + 1


@pytest.mark.parametrize(
    ("recipe", "changes", "keys"),
    [
        (BASELINE, {"model": BASELINE["model"] | {"patch_size": 9}}, ["dataset", "model"]),
        (STUDENT, {"model": BASELINE["model"] | {"filter_grid": [5, 5]}},
         ["dataset", "model.filter_grid"]),
        (STUDENT, {"model": BASELINE["model"] | {"img_size": 12}}, ["dataset", "model"]),
        (BASELINE, {"augmentation": {"crop_padding": 2}}, ["dataset"]),
        (EXITS, {"epochs": 0, "joint_epochs": 3}, ["dataset", "epochs"]),
        (EXITS, {"warmup_epochs": -1, "joint_epochs": 2}, ["dataset", "warmup_epochs"]),
        (BASELINE, {"model": BASELINE["model"] | {"img_size": 0}}, ["dataset", "model.img_size"]),
    ],
)  # fmt: skip
def test_a_problem_neither_hides_others_nor_makes_them(
    folder: Path, recipe: dict[str, Any], changes: dict[str, Any], keys: list[str]
) -> None:
    """Without the data set, sizes must fit each other all the same; limits that follow from a
    wrong value are no limits.
    """
    found = _problems(folder, recipe, dataset="nowhere", **changes)
    assert [key for key, _, _ in found] == keys


@pytest.mark.parametrize("text", ["", "- a\n- b\n", "just words\n"])
def test_a_file_that_is_no_mapping_is_refused(folder: Path, text: str) -> None:
    """An empty one, a list, a text."""
    path = folder / "recipe.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(BadInputError, match="a mapping with the keys name, stage"):
        read_recipe(path)


@pytest.mark.parametrize(
    ("recipe", "changes", "key", "found"),
    [
        (STUDENT, {"model": BASELINE["model"] | {"filter_grid": [2, 4]}}, "model.filter_grid",
         "filter_grid 2 x 4 holds 8 tokens, but the model has 6"),
        (BASELINE, {"model": BASELINE["model"] | {"patch_size": 9}}, "model",
         "img_size 8 is smaller than patch_size 9"),
        (STUDENT, {"model": BASELINE["model"] | {"img_size": 12}}, "model",
         "img_size 12, but teacher sees 8 pixels"),
        (EXITS, {"exit_blocks": [0, 2]}, "exit_blocks", "exit early after blocks 0..1"),
        (EXITS, {"exit_blocks": []}, "exit_blocks", "an empty list"),
        (EXITS, {"start": "grown.safetensors"}, "start", "grown is a gfnet-dynn with exits"),
        (EXITS, {"start": "grown-h.safetensors"}, "start", "grown-h is a gfnet-h with exits"),
        (STUDENT, {"teacher": "nobody.safetensors"}, "teacher", "no such checkpoint"),
        (STUDENT, {"teacher": "digits-gfnt"}, "teacher", "did you mean 'digits-gfnet'"),
        (STUDENT, {"teaching": {"kind": "soft"}}, "teaching", "the key temperature is missing"),
        (STUDENT, {"teaching": {"kind": "hard", "temperature": 2}}, "teaching.temperature",
         "hard teaching has no temperature"),
        (STUDENT, {"teaching": {"kind": "medium"}}, "teaching.kind", "unknown kind 'medium'"),
        (BASELINE, {"warmup_epochs": 4}, "warmup_epochs", "'4'"),
        (BASELINE, {"validation": {"fraction": 0, "seed": 0}}, "validation.fraction", "'0'"),
        (BASELINE, {"learning_rate": float("nan")}, "learning_rate", "'.nan'"),
        (BASELINE, {"augmentation": {"flip": True}}, "augmentation.flip", "unknown key"),
        (BASELINE, {"augmentation": {"flips": ["left"]}}, "augmentation.flips[0]",
         "unknown flip 'left'"),
        (BASELINE, {"augmentation": {"trivial": 3}}, "augmentation.trivial",
         "unknown trivial '3'"),
        (BASELINE, {"augmentation": {"crop_padding": 9}}, "augmentation.crop_padding", "'9'"),
        (BASELINE, {"ema_decay": 1}, "ema_decay", "'1'"),
        (BASELINE, {"precision": "half"}, "precision", "unknown precision 'half'"),
        (BASELINE, {"weights": "int8"}, "weights", "unknown weights 'int8'"),
        (BASELINE, {"joint_epochs": 1}, "joint_epochs", "unknown key"),
        (EXITS, {"augmentation": {"mixup": 0.2}}, "augmentation.mixup",
         "mixup in the stage exits"),
        (BASELINE, {"start": "teacher.safetensors"}, "model", "sizes with a start"),
        (BASELINE, {"start": "teacher.safetensors", "model": REMOVED, "initial_filters": "blurs"},
         "initial_filters", "initial_filters with a start"),
        (STUDENT, {"initial_filters": "delta"}, "initial_filters", "unknown initial_filters"),
        (EXITS, {"initial_filters": "blurs"}, "initial_filters", "unknown key"),
        (BASELINE, {"start": "student.safetensors", "model": REMOVED}, "start",
         "student is a gfnet-distil"),
        (EXITS, {"joint_epochs": 3}, "joint_epochs", "'3'"),
        (EXITS, {"label_smoothing": 0.1}, "label_smoothing", "unknown key"),
        (BASELINE, {"preprocessing": {"mean": [0.5]}}, "preprocessing.mean", "1 numbers"),
        (BASELINE, {"preprocessing": {"size": 4}}, "preprocessing.size", "'4'"),
        (BASELINE, {"output": "model.pth"}, "output", "'model.pth'"),
        (BASELINE, {"dataset": "parquet:none.parquet"}, "dataset", "none.parquet"),
    ],
)  # fmt: skip
def test_a_mistake_is_found_where_it_is(
    folder: Path, recipe: dict[str, Any], changes: dict[str, Any], key: str, found: str
) -> None:
    """One problem, at its key, with what stands there."""
    [(where, what, allowed)] = _problems(folder, recipe, **changes)
    assert where == key
    assert found in what
    assert allowed


def test_a_parent_of_other_classes_is_refused(folder: Path) -> None:
    """A teacher of seven classes has nothing to say about ten."""
    _checkpoint(folder, "teacher.safetensors", "gfnet", num_classes=7)
    [(key, found, allowed)] = _problems(folder, STUDENT)
    assert (key, found) == ("teacher", "teacher has 7 classes")
    assert allowed == "a model of the 10 classes of digits"


def test_a_parent_that_learned_held_out_images_is_refused(folder: Path) -> None:
    """The same data set with another choice of validation images would flatter every choice."""
    sha256 = read_recipe(_write(folder, BASELINE)).images.sha256
    learned = {"dataset_sha256": sha256, "validation": {"fraction": 0.15, "seed": 1}}
    _checkpoint(folder, "teacher.safetensors", "gfnet", training=learned)
    [(key, found, allowed)] = _problems(folder, STUDENT)
    assert (key, allowed) == ("validation", "fraction: 0.15, seed: 1")
    assert "another choice of the same images" in found


def test_reading_writes_nothing(folder: Path) -> None:
    """Not even the output's folder."""
    before = sorted(folder.iterdir())
    path = _write(folder, BASELINE)
    read_recipe(path)
    assert sorted(folder.iterdir()) == sorted([*before, path])
