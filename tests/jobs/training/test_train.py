"""Recipes run: two epochs of each shipped one, at tiny sizes, through all three stages."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
import yaml

import gfnet
import storage
from jobs.common.errors import UsageError
from jobs.training.compute import NoTrainingDeviceError
from jobs.training.recipe import Recipe, read_recipe
from jobs.training.train import TrainingError, train

if TYPE_CHECKING:
    from gfnet.training.progress import EpochReport

EXAMPLES = Path(__file__).parents[3] / "examples" / "train"
TINY = {"img_size": 8, "patch_size": 4, "embed_dim": 8, "depth": 3}
LADDERS = ("digits", "cifar10", "ucm")
CHANGES: dict[str, dict[str, Any]] = {
    "gfnet": {"model": TINY, "preprocessing": {"size": 8, "mean": [0.5] * 3}},
    "distil": {"model": TINY, "teacher": "{}-gfnet.safetensors"},
    "dynn": {
        "start": "{}-distil.safetensors",
        "exit_blocks": [0],
        "phase_epochs": 1,
        "joint_epochs": 0,
    },
    "gfnet-tuned": {"start": "{}-gfnet.safetensors"},
}
STAGES = ("gfnet", "distil", "dynn")
RECIPES = [*(f"{ladder}-{stage}" for ladder in LADDERS for stage in STAGES), "cifar10-gfnet-tuned"]
BUNDLED = [f"{ladder}-{stage}" for ladder in ("digits",) for stage in STAGES]


@pytest.fixture(scope="module", autouse=True)
def _few(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The data set `few`: the first 240 images of digits."""
    folder, digits = tmp_path_factory.mktemp("data"), storage.open_images("digits", "train")
    images = [
        storage.EncodedImage(row["image"], row["path"], row["label"])
        for row in digits.read(range(240)).to_pylist()
    ]
    storage.write_images(folder / "few" / "train.parquet", images, digits.class_names)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(storage.DATA_VARIABLE, str(folder))
        yield


def _tiny(folder: Path, name: str, **changes: Any) -> Recipe:
    """A shipped recipe with two epochs on few images and small sizes, its files in one folder."""
    ladder, stage = name.split("-", maxsplit=1)
    content = yaml.safe_load((EXAMPLES / f"{name}.yaml").read_text(encoding="utf-8"))
    small = {
        key: value.format(ladder) if isinstance(value, str) else value
        for key, value in CHANGES[stage].items()
    }
    content |= {
        "dataset": "few",
        "validation": {"fraction": 0.15, "seed": 0},
        "epochs": 2,
        "warmup_epochs": 1,
        "threads": 1,
        "output": f"{name}.safetensors",
    }
    if ladder != "digits":
        content["augmentation"]["crop_padding"] = 1
    if stage == "dynn" and ladder == "digits":
        del small["joint_epochs"]
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump(content | small | changes), encoding="utf-8")
    return read_recipe(path)


@pytest.fixture(scope="module")
def trained(
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, tuple[Recipe, list[EpochReport]]]:
    """The three stages, run one after the other: recipe and reports of each."""
    folder = tmp_path_factory.mktemp("recipes")
    runs = {}
    for name in RECIPES:
        recipe, reports = _tiny(folder, name), list[Any]()
        assert train(recipe, reports.append) == recipe.output
        runs[name] = recipe, reports
    return runs


Trained = dict[str, tuple[Recipe, list["EpochReport"]]]


def test_every_shipped_recipe_is_tested() -> None:
    """A recipe in examples/train without a small version here would go unrun."""
    assert sorted(path.stem for path in EXAMPLES.glob("*.yaml")) == sorted(RECIPES)


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_writes_a_checkpoint_that_loads(name: str, trained: Trained) -> None:
    """It has the recipe's sizes and preprocessing, and the data set's classes."""
    recipe, reports = trained[name]
    model = gfnet.load_checkpoint(recipe.output)
    assert model.config == recipe.config
    assert model.metadata.preprocessing == recipe.preprocessing
    assert model.metadata.class_names == tuple("0123456789")
    finished = [report for report in reports if report.validation]
    assert [(report.epoch, report.epochs) for report in finished] == [(1, 2), (2, 2)]


@pytest.mark.parametrize("name", RECIPES)
def test_a_checkpoint_says_how_it_was_trained(name: str, trained: Trained) -> None:
    """Recipe, stage, seed, epochs, data and what came out; no path, no time."""
    recipe, _ = trained[name]
    training = gfnet.inspect_checkpoint(recipe.output).metadata.training
    assert training["recipe"] == name
    assert training["stage"] == recipe.stage
    assert training["seed"] == recipe.schedule.seed
    assert (training["epochs"], training["threads"]) == (2, 1)
    assert training["dataset_sha256"] == storage.open_images("few", "train").sha256
    assert training["validation"] == {"fraction": 0.15, "seed": 0, "images": 35}
    assert 0 <= training["validation_accuracy"] <= 100
    assert str(recipe.output.parent) not in json.dumps(training)


@pytest.mark.parametrize(
    ("name", "parent"), [("digits-distil", "digits-gfnet"), ("digits-dynn", "digits-distil")]
)
def test_a_checkpoint_names_its_parent(name: str, parent: str, trained: Trained) -> None:
    """By the digest of the file that it was trained from."""
    training = gfnet.inspect_checkpoint(trained[name][0].output).metadata.training
    sha256 = gfnet.inspect_checkpoint(trained[parent][0].output).sha256
    assert training["parent"] == {"name": parent, "sha256": sha256}


@pytest.mark.parametrize("joint_epochs", [0, 1])
def test_exits_grow_on_a_baseline(joint_epochs: int, trained: Trained, tmp_path: Path) -> None:
    """With its body frozen, or after an epoch in which it learned with all heads."""
    baseline = trained["digits-gfnet"][0].output
    recipe = _tiny(
        tmp_path,
        "digits-dynn",
        start=str(baseline),
        exit_blocks=[0, 1],
        joint_epochs=joint_epochs,
        epochs=2 + joint_epochs,
    )
    reports: list[Any] = []
    train(recipe, reports.append)
    grown, flat = gfnet.load_checkpoint(recipe.output), gfnet.load_checkpoint(baseline)
    assert (grown.config.family, grown.config.exit_blocks) == ("gfnet-dynn", (0, 1))
    assert grown.metadata.training["parent"]["name"] == "digits-gfnet"
    phases = [report.phase for report in reports if report.validation]
    assert phases == ["warm-up", *["joint"] * joint_epochs, "gates"]
    state = grown.state_dict()
    is_kept = [torch.equal(state[name], tensor) for name, tensor in flat.state_dict().items()]
    assert all(is_kept) == (not joint_epochs)


def test_a_model_with_exits_says_which_and_at_what_cost(trained: Trained) -> None:
    """Exits, lambda and default thresholds; another exit cannot be enabled later."""
    info = gfnet.inspect_checkpoint(trained["digits-dynn"][0].output)
    assert info.metadata.thresholds == (0.5,)
    assert info.metadata.training["exit_blocks"] == [0]
    assert info.metadata.training["cost_weight"] == trained["digits-dynn"][0].exits.cost_weight
    with pytest.raises(gfnet.CheckpointError, match="were not trained"):
        gfnet.load_checkpoint(info.path, exit_blocks=(1,))


def test_a_recipe_reproduces_its_file(trained: Trained, tmp_path: Path) -> None:
    """Run again it writes the same bytes."""
    recipe, _ = trained["digits-gfnet"]
    again = train(replace(recipe, output=tmp_path / "new" / "again.safetensors"), lambda _: None)
    assert again.read_bytes() == recipe.output.read_bytes()


def test_the_test_split_is_never_opened(
    trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reading and running a recipe asks storage for the training split alone."""
    opened = []
    open_images = storage.open_images

    def spy(name: str, split: str = "test", *rest: Any, **options: Any) -> storage.ImageSet:
        opened.append(split)
        return open_images(name, split, *rest, **options)

    monkeypatch.setattr(storage, "open_images", spy)
    train(_tiny(tmp_path, "digits-gfnet"), lambda _: None)
    assert trained
    assert opened == ["train"]


def test_a_loss_that_explodes_leaves_nothing(trained: Trained, tmp_path: Path) -> None:
    """The error names recipe and epoch; neither a checkpoint nor a part of one is there."""
    recipe, _ = trained["digits-gfnet"]
    schedule = replace(recipe.schedule, learning_rate=1e30, warmup_epochs=0)
    recipe = replace(recipe, schedule=schedule, output=tmp_path / "model.safetensors")
    with pytest.raises(TrainingError, match=r"^digits-gfnet: the loss became .* in epoch 1 of 2"):
        train(recipe, lambda _: None)
    assert list(tmp_path.iterdir()) == []


class _Lost:
    """A loss that is as the model's for some steps, and then NaN."""

    def __init__(self, steps: int) -> None:
        from gfnet.training.baseline import label_loss

        self._left, self._label_loss = steps, label_loss

    def __call__(self, model: gfnet.GFNet, label_smoothing: float) -> Any:
        """In the place of `label_loss`."""
        true = self._label_loss(model, label_smoothing)

        def loss_of(batch: Any) -> Any:
            self._left -= 1
            return true(batch) * (1 if self._left >= 0 else float("nan"))

        return loss_of


def test_a_loss_that_is_lost_later_leaves_the_best_epoch_before(
    trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second epoch breaks: the first's weights are the checkpoint, and the message says so."""
    recipe, reports = trained["digits-gfnet"]
    steps = -(-205 // recipe.schedule.batch_size)
    monkeypatch.setattr("gfnet.training.baseline.label_loss", _Lost(steps + 3))
    recipe = replace(recipe, output=tmp_path / "model.safetensors")
    with pytest.raises(
        TrainingError, match=r"in epoch 2 of 2.*holds the best epoch before, 1, with"
    ):
        train(recipe, lambda _: None)
    assert [path.name for path in tmp_path.iterdir()] == ["model.safetensors"]
    training = gfnet.inspect_checkpoint(recipe.output).metadata.training
    assert training["best_epoch"] == 1
    first = next(report.validation for report in reports if report.validation)
    assert training["validation_accuracy"] == first.accuracy
    assert "the loss became nan" in training["stopped"]
    with pytest.raises(TrainingError, match=r"loss became nan.*would end the same way.*--force"):
        train(recipe, lambda _: None, is_resumed=True)


def _interrupted(recipe: Recipe) -> None:
    """Stop a training after its first epoch, as Ctrl-C does."""

    def interrupt(report: EpochReport) -> None:
        if report.epoch == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(recipe, interrupt)


@pytest.mark.parametrize("name", ["digits-gfnet", "cifar10-distil", "cifar10-dynn"])
def test_an_interrupted_training_ends_with_the_same_file(
    name: str, trained: Trained, tmp_path: Path
) -> None:
    """Resumed, it writes the bytes of one that was not interrupted, and its rows are whole."""
    recipe = replace(trained[name][0], output=tmp_path / f"{name}.safetensors")
    _interrupted(recipe)
    with pytest.raises(UsageError, match="add --resume to continue it, or --force to start"):
        train(recipe, lambda _: None)
    results, finished = tmp_path / "results", list[int]()
    train(
        recipe,
        lambda report: finished.append(report.epoch) if report.validation else None,
        is_resumed=True,
        results=results,
    )
    assert finished == [2]
    assert recipe.output.read_bytes() == trained[name][0].output.read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == [recipe.output.name, "results"]


def test_a_baseline_goes_on_from_existing_weights(trained: Trained, tmp_path: Path) -> None:
    """Of the same classes it starts where they were, and names them; its sizes are theirs."""
    parent = trained["digits-gfnet"][0].output
    content = yaml.safe_load((EXAMPLES / "digits-gfnet.yaml").read_text(encoding="utf-8"))
    del content["model"], content["preprocessing"]
    content |= {"start": str(parent), "epochs": 1, "warmup_epochs": 0, "learning_rate": 1e-7}
    (tmp_path / "on.yaml").write_text(yaml.safe_dump(content | {"output": "on.safetensors"}))
    recipe = read_recipe(tmp_path / "on.yaml")
    train(recipe, lambda _: None)
    info = gfnet.inspect_checkpoint(recipe.output)
    assert info.metadata.training["parent"]["name"] == "digits-gfnet"
    before = gfnet.load_checkpoint(parent).state_dict()
    for name, tensor in gfnet.load_checkpoint(recipe.output).state_dict().items():
        assert (tensor - before[name]).abs().max() < 1e-4


def test_resuming_what_was_not_interrupted_starts_at_the_beginning(
    trained: Trained, tmp_path: Path
) -> None:
    """So that a loop or a service may always say --resume."""
    recipe = replace(trained["digits-gfnet"][0], output=tmp_path / "m.safetensors")
    train(recipe, lambda _: None, is_resumed=True)
    assert recipe.output.read_bytes() == trained["digits-gfnet"][0].output.read_bytes()


def test_a_changed_recipe_does_not_go_on(trained: Trained, tmp_path: Path) -> None:
    """The message names what differs; the state stands."""
    recipe = replace(trained["digits-gfnet"][0], output=tmp_path / "m.safetensors")
    _interrupted(recipe)
    changed = replace(recipe, label_smoothing=0.3)
    with pytest.raises(TrainingError, match=r"label_smoothing was 0\.1, is 0\.3.*--force"):
        train(changed, lambda _: None, is_resumed=True)
    assert (tmp_path / "m.safetensors.training").exists()


def _copied(trained: Trained, name: str, folder: Path) -> Recipe:
    """A recipe whose output is a copy of what it was trained to."""
    recipe = replace(trained[name][0], output=folder / "m.safetensors")
    recipe.output.write_bytes(trained[name][0].output.read_bytes())
    return recipe


@pytest.mark.parametrize("name", RECIPES)
def test_a_finished_training_is_left_as_it_is(name: str, trained: Trained, tmp_path: Path) -> None:
    """Resumed it says so and does nothing; also where the checkpoint's thresholds were chosen."""
    recipe, said = _copied(trained, name, tmp_path), list[str]()
    if recipe.stage == "exits":
        gfnet.save_thresholds(recipe.output, recipe.output, (0.25,))
    before, reports = recipe.output.read_bytes(), list[Any]()
    for _ in range(2):
        assert train(recipe, reports.append, is_resumed=True, narrate=said.append) == recipe.output
    assert (recipe.output.read_bytes(), reports) == (before, [])
    assert said[0].startswith(f"{name} is finished: {recipe.output} holds epoch ")
    assert "of 2, with" in said[0]


def test_a_finished_training_of_a_changed_recipe_is_kept(trained: Trained, tmp_path: Path) -> None:
    """Each setting with both values; nothing is learned, and the file stands."""
    recipe = _copied(trained, "digits-distil", tmp_path)
    before = recipe.output.read_bytes()
    assert recipe.parent is not None
    changes = {
        r"seed was 0, is 5": {"schedule": replace(recipe.schedule, seed=5)},
        r"weights was 'float32', is 'float16'": {"weights": "float16"},
        r"augmentation\.shift was 0\.1, is 0\.2": {
            "augmentation": replace(recipe.augmentation, shift=0.2)
        },
        r"parent\.sha256 was '[0-9a-f]{64}', is 'other'": {
            "parent": replace(recipe.parent, sha256="other")
        },
    }
    for words, change in changes.items():
        with pytest.raises(UsageError, match=rf"other settings: {words}\. Put .*--force"):
            train(replace(recipe, **change), lambda _: None, is_resumed=True)
    assert recipe.output.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["m.safetensors"]


def test_a_checkpoint_is_replaced_by_force_alone(trained: Trained, tmp_path: Path) -> None:
    """Not by another training, whoever made the file; refused before anything is learned."""
    recipe, reports = _copied(trained, "digits-gfnet", tmp_path), list[Any]()
    wanted = recipe.output.read_bytes()
    for content, resumed in (
        (wanted, r"is finished"),
        (b"no checkpoint", "neither a safetensors file"),
        (gfnet.bundled()["digits-gfnet"].read_bytes(), "had other settings: "),
    ):
        recipe.output.write_bytes(content)
        with pytest.raises(UsageError, match=r"already exists; add --resume .*--force"):
            train(recipe, reports.append)
        if content != wanted:
            with pytest.raises(UsageError, match=rf"{resumed}.*add --force"):
                train(recipe, reports.append, is_resumed=True)
        assert recipe.output.read_bytes() == content
    assert reports == []
    train(recipe, lambda _: None, is_forced=True)
    assert recipe.output.read_bytes() == wanted


def test_an_output_is_trained_by_one_process(tmp_path: Path) -> None:
    """A second one is refused at once, with --force too; afterwards no lock is left."""
    recipe, said = _tiny(tmp_path, "digits-gfnet"), []

    def report(_: EpochReport) -> None:
        for is_forced in (False, True):
            with pytest.raises(UsageError, match="is being trained by process") as refused:
                train(recipe, lambda _: None, is_forced=is_forced)
            said.append(refused)

    train(recipe, report)
    assert said
    assert not list(tmp_path.glob(".*lock"))


def test_what_came_during_a_training_is_not_replaced(tmp_path: Path) -> None:
    """By an import, or by a machine whose locks are not ours; the epochs are kept."""
    recipe = _tiny(tmp_path, "digits-gfnet")

    def report(_: EpochReport) -> None:
        recipe.output.write_bytes(b"of another")

    with pytest.raises(UsageError, match="something else wrote"):
        train(recipe, report)
    assert recipe.output.read_bytes() == b"of another"
    recipe.output.unlink()
    assert train(recipe, lambda _: None, is_resumed=True) == recipe.output
    assert gfnet.inspect_checkpoint(recipe.output).metadata.training["epochs"] == 2


def test_an_imported_checkpoint_is_not_gone_on_with(trained: Trained, tmp_path: Path) -> None:
    """No training made it."""
    recipe = replace(trained["digits-gfnet"][0], output=tmp_path / "m.safetensors")
    model = gfnet.load_checkpoint(trained["digits-gfnet"][0].output)
    gfnet.save_checkpoint(model, recipe.output, replace(model.metadata, training={}))
    with pytest.raises(UsageError, match=r"was not made by a training.*add --force"):
        train(recipe, lambda _: None, is_resumed=True)


def test_force_forgets_an_interrupted_training(trained: Trained, tmp_path: Path) -> None:
    """It begins at the first epoch, of whatever recipe; until it begins, the state stands."""
    recipe = replace(trained["digits-gfnet"][0], output=tmp_path / "m.safetensors")
    _interrupted(replace(recipe, label_smoothing=0.3))
    state = tmp_path / "m.safetensors.training"
    with pytest.raises(NoTrainingDeviceError, match="no device"):
        train(recipe, lambda _: None, device="cuda:7", is_forced=True)
    assert state.exists()
    epochs = list[int]()
    train(recipe, lambda report: epochs.append(report.epoch), is_forced=True)
    assert set(epochs) == {1, 2}
    assert recipe.output.read_bytes() == trained["digits-gfnet"][0].output.read_bytes()
    assert not state.exists()


def test_what_an_older_version_did_not_say_has_not_changed(
    trained: Trained, tmp_path: Path
) -> None:
    """A setting that came later is not in its checkpoints."""
    recipe = _copied(trained, "digits-gfnet", tmp_path)
    model = gfnet.load_checkpoint(recipe.output)
    training = dict(model.metadata.training)
    del training["optimizer"], training["augmentation"]["erase"]
    gfnet.save_checkpoint(model, recipe.output, replace(model.metadata, training=training))
    said = list[str]()
    train(recipe, lambda _: None, is_resumed=True, narrate=said.append)
    assert "is finished" in said[0]


def test_what_the_machine_chose_is_no_setting(trained: Trained, tmp_path: Path) -> None:
    """A recipe that leaves the precision to it is finished, whichever that was."""
    recipe = _copied(trained, "cifar10-gfnet", tmp_path)
    model = gfnet.load_checkpoint(recipe.output)
    training = dict(model.metadata.training) | {
        "precision": "bfloat16",
        "device": "cuda",
        "gfjobs": "0.0.1",
    }
    gfnet.save_checkpoint(model, recipe.output, replace(model.metadata, training=training))
    said = list[str]()
    automatic = replace(recipe, precision="auto")
    train(automatic, lambda _: None, is_resumed=True, narrate=said.append)
    assert "is finished" in said[0]
    with pytest.raises(UsageError, match="precision was 'bfloat16', is 'float32'"):
        train(replace(recipe, precision="float32"), lambda _: None, is_resumed=True)


def test_a_full_disk_keeps_the_epochs_before(
    trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The state of the first epoch stands when that of the second cannot be written."""
    recipe = replace(trained["digits-gfnet"][0], output=tmp_path / "m.safetensors")
    written = []
    fsync = os.fsync

    def full(file: int) -> None:
        written.append(file)
        if len(written) > 1:
            raise OSError(28, "No space left on device")
        fsync(file)

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(TrainingError, match=r"No space left on device\. The state saved before"):
        train(recipe, lambda _: None)
    monkeypatch.undo()
    assert [path.name for path in tmp_path.iterdir()] == ["m.safetensors.training"]
    train(recipe, lambda _: None, is_resumed=True)
    assert recipe.output.read_bytes() == trained["digits-gfnet"][0].output.read_bytes()


def test_each_epoch_is_a_row(trained: Trained, tmp_path: Path) -> None:
    """What was reported, and by what settings; run again it replaces its rows, changed it adds."""
    recipe = replace(trained["digits-dynn"][0], output=tmp_path / "m.safetensors")
    reports: list[EpochReport] = []
    train(recipe, reports.append, results=tmp_path)
    train(recipe, lambda _: None, results=tmp_path, is_forced=True)
    rows = storage.query(tmp_path, "FROM training ORDER BY epoch").to_pylist()
    assert [row["phase"] for row in rows] == ["warm-up", "gates"]
    assert [row["is_best"] for row in rows] == [False, True]
    for row, report in zip(rows, (r for r in reports if r.validation), strict=True):
        assert report.validation is not None
        assert (row["loss"], row["learning_rate"]) == (report.loss, report.learning_rate)
        assert row["validation_acc1"] == report.validation.accuracy
        assert row["validation_blocks"] == report.validation.blocks
        assert (row["device"], row["precision"], row["threads"]) == ("cpu", "float32", 1)
        assert row["finished_at"] > row["started_at"]
    schedule = replace(recipe.schedule, seed=5)
    train(replace(recipe, schedule=schedule), lambda _: None, results=tmp_path, is_forced=True)
    assert storage.query(tmp_path, "FROM training").num_rows == 4


def test_a_device_that_torch_does_not_have_is_named(trained: Trained, tmp_path: Path) -> None:
    """Before the first epoch, with what to choose."""
    recipe = replace(trained["digits-gfnet"][0], output=tmp_path / "m.safetensors")
    for device in ("cuda:7", "toaster"):
        with pytest.raises(
            NoTrainingDeviceError, match=f"has no device '{device}'.*choose --device cpu"
        ):
            train(recipe, lambda _: None, device=device)
    assert list(tmp_path.iterdir()) == []


class _Broken:
    """A source whose second image is no image."""

    def __init__(self, images: storage.ImageSet) -> None:
        self._images = images

    def read(self, image_ids: Any) -> list[bytes | None]:
        """The images, but for the second."""
        encoded = self._images.source.read(image_ids)
        return [
            b"broken" if row == 1 else image for row, image in zip(image_ids, encoded, strict=True)
        ]


def test_a_broken_image_is_named(trained: Trained, tmp_path: Path) -> None:
    """Training needs every image: it stops before it starts."""
    recipe, _ = trained["digits-gfnet"]
    images = replace(recipe.images, source=_Broken(recipe.images))
    recipe = replace(recipe, images=images, output=tmp_path / "model.safetensors")
    with pytest.raises(TrainingError, match="1 of the images of few cannot be decoded") as caught:
        train(recipe, lambda _: None)
    assert images.paths[1] in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_an_output_that_cannot_be_written_is_found_at_once(
    trained: Trained, tmp_path: Path
) -> None:
    """Before the first epoch: a file stands where a folder is needed."""
    (tmp_path / "file").write_text("", encoding="utf-8")
    reports: list[EpochReport] = []
    recipe = replace(trained["digits-gfnet"][0], output=tmp_path / "file" / "model.safetensors")
    with pytest.raises(TrainingError, match=r"file cannot be created"):
        train(recipe, reports.append)
    assert reports == []


def test_reading_a_recipe_loads_no_torch() -> None:
    """A recipe with a mistake is refused at once, without seconds of imports."""
    code = "import sys, jobs.training.recipe, jobs.training.train; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_number_of_threads_is_put_back(trained: Trained, tmp_path: Path) -> None:
    """Training computes on the recipe's number, and its caller goes on with its own."""
    import torch

    before = torch.get_num_threads()
    during = []
    recipe = replace(
        trained["digits-gfnet"][0], threads=before + 1, output=tmp_path / "m.safetensors"
    )
    train(recipe, lambda _: during.append(torch.get_num_threads()))
    assert set(during) == {before + 1}
    assert torch.get_num_threads() == before


@pytest.mark.parametrize("name", BUNDLED)
def test_a_bundled_checkpoint_is_what_its_recipe_makes(name: str) -> None:
    """Each says that it was trained as the shipped recipe stands, from the parent shipped now."""
    recipe = read_recipe(EXAMPLES / f"{name}.yaml")
    info = gfnet.inspect_checkpoint(gfnet.bundled()[name])
    training = info.metadata.training
    assert info.metadata.config == recipe.config
    assert info.metadata.preprocessing == recipe.preprocessing
    # Those made before there was a choice of optimiser say nothing of it.
    assert asdict(recipe.schedule).items() <= ({"optimizer": "adamw"} | dict(training)).items()
    assert (training["recipe"], training["threads"]) == (name, recipe.threads)
    assert training["dataset_sha256"] == recipe.images.sha256
    assert training.get("parent", {}).get("sha256") == (recipe.parent and recipe.parent.sha256)


@pytest.mark.parametrize("name", BUNDLED)
def test_a_bundled_checkpoint_is_small(name: str) -> None:
    """Under a megabyte each: they ship with the package."""
    assert gfnet.bundled()[name].stat().st_size < 1_000_000


def test_the_bundled_exits_stand_on_the_bundled_student() -> None:
    """At full depth digits-dynn answers as digits-distil does: its backbone was frozen."""
    import torch

    student = gfnet.load_checkpoint(gfnet.bundled()["digits-distil"]).state_dict()
    grown = gfnet.load_checkpoint(gfnet.bundled()["digits-dynn"]).state_dict()
    assert all(torch.equal(grown[name], tensor) for name, tensor in student.items())


CIFAR10 = {
    "cifar10-gfnet": ("cifar10-gfnet-tuned", None),
    "cifar10-distil": ("cifar10-distil", "cifar10-gfnet"),
    "cifar10-dynn": ("cifar10-dynn", "cifar10-distil"),
}
"""Bundled name: its recipe, and its parent where that is bundled too."""


@pytest.mark.parametrize("name", CIFAR10)
def test_a_bundled_cifar10_checkpoint_is_what_its_recipe_makes(name: str) -> None:
    """As above, without the images, which are not on every machine."""
    recipe, parent = CIFAR10[name]
    content = yaml.safe_load((EXAMPLES / f"{recipe}.yaml").read_text(encoding="utf-8"))
    info = gfnet.inspect_checkpoint(gfnet.bundled()[name])
    training = dict(info.metadata.training)
    assert training["recipe"] == content["name"]
    augmentation = content.pop("augmentation")
    assert augmentation.items() <= training["augmentation"].items()
    assert content.pop("validation").items() <= training["validation"].items()
    same = {key: value for key, value in content.items() if key in training}
    assert {"stage", "dataset", "epochs", "learning_rate", "optimizer", "seed"} <= set(same)
    assert {key: training[key] for key in same if key != "precision"} == {
        key: value for key, value in same.items() if key != "precision"
    }
    if parent:
        assert (
            training["parent"]["sha256"] == gfnet.inspect_checkpoint(gfnet.bundled()[parent]).sha256
        )


def test_the_cifar10_ladder_is_small() -> None:
    """Six megabytes together: they ship with the package."""
    assert sum(gfnet.bundled()[name].stat().st_size for name in CIFAR10) < 6_000_000
