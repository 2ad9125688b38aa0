"""How points fold into cells, and what identifies a cell."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import gfnet
from jobs.common.errors import BadInputError
from jobs.common.yaml_document import Document
from jobs.driver.cell_states import queued_rows
from jobs.grid.grid import SHARD_IMAGES
from jobs.machine.power.protocol import EnergyProtocol
from jobs.plan.arrivals import Arrivals
from jobs.plan.estimate import Estimate
from jobs.plan.order import make_blocks
from jobs.plan.plan import Plan, _held_images, plan_document
from jobs.plan.task import Shard, cut_shards
from jobs.plan.view import describe_plan, describe_skips

LADDER = """\
models: [flat.safetensors, distil.safetensors, dynn.safetensors]
datasets: [{name: digits, limit: 50}, {name: digits, split: train, limit: 60}]
thresholds: [0.5, 0.7, {start: 0.0, stop: 1.0, num: 101}]
"""


def test_thresholds_fold_into_one_pass(plan_of: Callable[[str], Plan]) -> None:
    """606 points: 6 all-exit passes; routed are 2 static cells and 2 thresholds, per data set."""
    plan = plan_of(LADDER)
    assert plan.points == 606
    assert plan.count("exits") == 6
    assert plan.count("latency") == 2 * (1 + 1 + 2)
    routed = [
        (cell.model.name, cell.threshold)
        for cell in plan.cells
        if cell.kind == "latency" and cell.dataset.images.split == "test"
    ]
    expected = [("flat", None), ("distil", None), ("dynn", 0.5), ("dynn", float(np.float32(0.7)))]
    assert routed == expected


def test_a_range_alone_is_not_routed(plan_of: Callable[[str], Plan]) -> None:
    """Only what is written out runs under the clock; the static model is timed once."""
    plan = plan_of(
        "models: [flat.safetensors, dynn.safetensors]\ndatasets: [digits]\n"
        "thresholds: [{start: 0.0, stop: 1.0, num: 101}]\n"
    )
    assert plan.points == 202
    assert Counter((cell.kind, cell.model.name) for cell in plan.cells) == {
        ("exits", "flat"): 1,
        ("exits", "dynn"): 1,
        ("latency", "flat"): 1,
    }


@pytest.mark.parametrize(
    ("measure", "kinds"),
    [
        ("accuracy", {"exits"}),
        ("latency", {"latency"}),
        ("energy", {"latency"}),
        ("exit_costs", {"exit_costs"}),
        ("profile", {"profile"}),
        ("throughput", {"throughput"}),
    ],
)
def test_measure_decides_the_kinds(
    measure: str, kinds: set[str], plan_of: Callable[[str], Plan]
) -> None:
    """Without latency or energy nothing is routed; without accuracy nothing is passed whole."""
    plan = plan_of(f"models: [dynn.safetensors]\ndatasets: [digits]\nmeasure: [{measure}]\n")
    assert {cell.kind for cell in plan.cells} == kinds


def test_energy_is_of_timed_cells_where_it_is_asked_for(plan_of: Callable[[str], Plan]) -> None:
    """Routed cells and forced exits have windows, in the tasks too; nothing else has."""
    text = "models: [dynn.safetensors]\ndatasets: [digits]\nenergy: {idle_s: 3}\n"
    every = plan_of(text + "measure: [accuracy, latency, energy, exit_costs, profile]\n")
    windows = EnergyProtocol(idle_s=3.0)
    expected = {"exits": None, "latency": windows, "exit_costs": windows, "profile": None}
    assert {cell.kind: cell.energy for cell in every.cells} == expected
    queue = make_blocks(every, by_device=False)[0].tasks("r", frozenset())
    assert {task.kind: task.energy for task in queue} == expected
    without = plan_of(text + "measure: [accuracy, latency, exit_costs, profile]\n")
    assert {cell.energy for cell in without.cells} == {None}


def test_equal_thresholds_are_one_cell(plan_of: Callable[[str], Plan]) -> None:
    """0.5, the default of 0.5, and a vector of 0.5 route the same way."""
    plan = plan_of(
        "models: [dynn.safetensors]\ndatasets: [digits]\n"
        "thresholds: [0.5, default, [0.5, 0.5], [0.25, 0.5]]\n"
    )
    routed = [cell for cell in plan.cells if cell.kind == "latency"]
    assert [cell.thresholds for cell in routed] == [(0.5, 0.5), (0.25, 0.5)]
    assert [cell.threshold for cell in routed] == [0.5, None]


def test_exclude_leaves_out_what_matches_wholly(plan_of: Callable[[str], Plan]) -> None:
    """Each exclusion names a combination; what matches only a part stays."""
    plan = plan_of(
        "models: [flat.safetensors, dynn.safetensors]\ndatasets: [digits]\n"
        "devices: [any, jetson]\nexclude: [{model: dynn, device: any}]\nmeasure: [accuracy]\n"
    )
    combinations = {(cell.model.name, cell.setting.device) for cell in plan.cells}
    assert combinations == {("flat", "any"), ("flat", "jetson"), ("dynn", "jetson")}
    assert plan.points == 3


def test_protocol_is_capped_by_the_data(plan_of: Callable[[str], Plan]) -> None:
    """Timed images are at most the limit; warm-up takes at least one image an exit."""
    plan = plan_of(
        "models: [dynn.safetensors]\ndatasets: [{name: digits, limit: 30}]\n"
        "latency: {warmup_images: 1, images: 40}\n"
    )
    exits, latency = plan.cells
    assert (exits.images, exits.rounds, exits.warmup_images) == (30, 1, 0)
    assert (latency.images, latency.rounds, latency.warmup_images) == (30, 3, 3)


def test_cell_id_changes_with_what_determines_the_result(plan_of: Callable[[str], Plan]) -> None:
    """Everything but the number of rounds."""
    plan = plan_of(LADDER)
    cell = next(cell for cell in plan.cells if cell.kind == "latency" and cell.thresholds)
    model, data = cell.model, cell.dataset
    metadata = model.metadata
    preprocessing = replace(metadata.preprocessing, interpolation="bilinear")
    changed = [
        replace(cell, model=replace(model, sha256="0")),
        replace(cell, model=replace(model, name="other")),
        replace(
            cell, model=replace(model, metadata=replace(metadata, preprocessing=preprocessing))
        ),
        replace(cell, dataset=replace(data, limit=49)),
        replace(cell, dataset=replace(data, images=replace(data.images, sha256="0"))),
        replace(cell, setting=replace(cell.setting, device="jetson")),
        replace(cell, setting=replace(cell.setting, runtime="onnx")),
        replace(cell, setting=replace(cell.setting, precision="bfloat16")),
        replace(cell, setting=replace(cell.setting, threads=3)),
        replace(cell, thresholds=(0.5, 0.25)),
        replace(cell, batch_size=2),
        replace(cell, images=49),
        replace(cell, warmup_images=99),
        replace(cell, kind="exits"),
    ]
    ids = {other.cell_id for other in changed}
    assert len(ids) == len(changed)
    assert cell.cell_id not in ids
    assert replace(cell, rounds=9).cell_id == cell.cell_id


def test_cell_ids_stay_what_they_were() -> None:
    """A run that was begun by an earlier version goes on; its cells are known by their ids."""
    grid = Path(__file__).parents[3] / "docs" / "grid.yaml"
    plan = plan_document(Document.read(grid), grid.parent, None)
    ids = "".join(cell.cell_id for cell in plan.cells)
    assert plan.cells[0].cell_id == "e5093477b783269a"
    assert hashlib.sha256(ids.encode()).hexdigest()[:16] == "9b51b98655a851c3"


def test_exit_costs_are_a_cell_of_each_model_with_gates(plan_of: Callable[[str], Plan]) -> None:
    """Timed as routed cells are, once whatever the thresholds; a static model has no choice."""
    plan = plan_of(
        LADDER + "measure: [accuracy, latency, exit_costs]\nlatency: {rounds: 2, images: 7}\n"
    )
    costs = [cell for cell in plan.cells if cell.kind == "exit_costs"]
    assert [(cell.model.name, cell.images, cell.rounds) for cell in costs] == [("dynn", 7, 2)] * 2
    assert all(cell.is_timed and cell.thresholds == () for cell in costs)


def test_a_profile_is_one_task_of_each_model(plan_of: Callable[[str], Plan]) -> None:
    """Whatever thresholds and rounds; at most a shard of images, since its rows are sums."""
    grid = (
        "models: [flat.safetensors, dynn.safetensors]\n"
        "datasets: [{name: digits, split: train, limit: 1200}]\nthresholds: [0.5, 0.7]\n"
        "batch_sizes: {latency: 2}\nthreads: [1, 2]\n"
    )
    plan = plan_of(grid + "measure: [latency, profile]\nlatency: {rounds: 2, warmup_images: 7}\n")
    cells = [cell for cell in plan.cells if cell.kind == "profile"]
    assert Counter((cell.model.name, cell.setting.threads) for cell in cells) == dict.fromkeys(
        (("flat", 1), ("flat", 2), ("dynn", 1), ("dynn", 2)), 1
    )
    for cell in cells:
        assert (cell.images, cell.rounds, len(cell.shards)) == (SHARD_IMAGES, 1, 1)
        assert (cell.thresholds, cell.batch_size, cell.warmup_images) == ((), 2, 8)
        assert cell.is_timed
    few = plan_of(grid + "measure: [profile]\nlatency: {images: 30}\n")
    assert {cell.images for cell in few.cells} == {30}
    assert "profile" not in {cell.kind for cell in plan_of(grid).cells}, "only when asked for"


IMPOSSIBLE = """\
models: [dynn.safetensors]
datasets: [{name: digits, limit: 9}]
devices: [any, cpu]
runtimes: [torch, onnx]
precisions: [float32, float16]
measure: [accuracy, profile]
"""


def test_what_can_run_nowhere_is_skipped_when_planned(plan_of: Callable[[str], Plan]) -> None:
    """float16 may be had of `any` device, of a processor never; a profile is of torch alone."""
    plan = plan_of(IMPOSSIBLE)
    assert len(plan.cells) == 16
    kept = {
        (cell.kind, cell.setting.device, cell.setting.runtime, cell.setting.precision)
        for cell in plan.runnable
    }
    assert kept == {
        ("exits", "any", "torch", "float32"),
        ("exits", "any", "torch", "float16"),
        ("exits", "any", "onnx", "float32"),
        ("exits", "any", "onnx", "float16"),
        ("exits", "cpu", "torch", "float32"),
        ("exits", "cpu", "onnx", "float32"),
        ("profile", "any", "torch", "float32"),
        ("profile", "cpu", "torch", "float32"),
    }
    reasons = {cell.skipped for cell in plan.cells if cell.skipped}
    no_clock = "a profile can time the parts of runtime torch in float32 only"
    assert {str(reason).split(";")[0] for reason in reasons} == {
        "float16 is not supported on a CPU: choose bfloat16",
        "runtime onnx supports float32 and int8 on a cpu device, not float16",
        no_clock,
    }


def test_skipped_cells_have_no_tasks(plan_of: Callable[[str], Plan]) -> None:
    """Neither in one queue nor in one a device; their rows are skipped before anything runs."""
    plan = plan_of(IMPOSSIBLE)
    runnable = {cell.cell_id for cell in plan.runnable}
    for by_device in (False, True):
        queues = [block.tasks("r", ()) for block in make_blocks(plan, by_device=by_device)]
        assert {task.cell_id for queue in queues for task in queue} == runnable
    rows = {row.cell_id: row for row in queued_rows(plan, "r")}
    assert {cell_id for cell_id, row in rows.items() if row.status == "queued"} == runnable
    for cell in plan.cells:
        assert (rows[cell.cell_id].status == "skipped") == bool(cell.skipped)
        assert rows[cell.cell_id].note == cell.skipped


def test_cell_ids_are_stable(plan_of: Callable[[str], Plan]) -> None:
    """Planning twice gives the same ids: a resume finds its cells again."""
    assert [c.cell_id for c in plan_of(LADDER).cells] == [c.cell_id for c in plan_of(LADDER).cells]


def test_shards_cover_each_image_once() -> None:
    """At most 1,000 images each, in order, without a gap."""
    assert cut_shards(0) == ()
    assert cut_shards(SHARD_IMAGES) == (Shard(0, 0, 1000),)
    assert cut_shards(2001) == (Shard(0, 0, 1000), Shard(1, 1000, 2000), Shard(2, 2000, 2001))


@pytest.mark.parametrize(
    ("names", "known", "said"),
    [
        ([*map(str, range(12))], (), "numbers sorted as text: label 2 is 10. If named has them in"),
        ([*map(str, range(12))], ("cat", "dog"), "numbers sorted as text: label 2 is 10"),
        ([f"{number:02}" for number in range(12)], (), ""),
        (["n02", "n07"], (), "many has 2 of the 12 classes of named, which has no names for them"),
        (["0", "1"], ("0", "1"), ""),
        (["n02", "n07"], ("cat", "dog"), "no class name of many (n02, ...) is one of named (cat,"),
        (["cat", "n02"], ("cat", "dog"), ""),
    ],
)
def test_labels_that_could_not_be_checked(
    plan_of: Callable[[str], Plan],
    tmp_path: Path,
    names: list[str],
    known: tuple[str, ...],
    said: str,
) -> None:
    """Folders 0, 1, 10, 2, ...; or some of ImageNet's classes: accuracy near 0 without a reason."""
    for name in names:
        (tmp_path / "many" / name).mkdir(parents=True)
        (tmp_path / "many" / name / "0.png").write_bytes(b"x")
    model = gfnet.create("gfnet", img_size=8, patch_size=4, embed_dim=8, depth=2, num_classes=12)
    known = (*known, *(f"x{number}" for number in range(len(known), 12))) if known else ()
    metadata = replace(model.metadata, class_names=known)
    gfnet.save_checkpoint(model, tmp_path / "named.safetensors", metadata)
    grid = f"models: ['{tmp_path}/named.safetensors']\ndatasets: ['imagefolder:{tmp_path}/many']\n"
    lines = describe_skips(plan_of(grid))
    assert len(lines) == bool(said)
    assert said in " ".join("".join(lines).split())
    excluded = describe_skips(plan_of(f"{grid}exclude: [{{dataset: many}}]\n"))
    assert excluded == ["nothing is left to run"]


def test_a_pair_that_does_not_fit_can_be_excluded(
    plan_of: Callable[[str], Plan], tmp_path: Path
) -> None:
    """A data set of more classes than a model has: the others of the grid go on."""
    for label in range(12):
        folder = tmp_path / "many" / f"class{label:02}"
        folder.mkdir(parents=True)
        (folder / "0.png").write_bytes(b"x")
    grid = (
        "models: [flat.safetensors]\nmeasure: [accuracy]\n"
        f"datasets: [digits, 'imagefolder:{tmp_path}/many']\n"
    )
    with pytest.raises(BadInputError, match="many has 12 classes, the model 'flat' has 10") as err:
        plan_of(grid)
    assert "`exclude` leaves out a pair: {model: flat, dataset: many}" in str(err.value)
    plan = plan_of(f"{grid}exclude: [{{model: flat, dataset: many}}]\n")
    assert [cell.dataset.label for cell in plan.cells] == ["digits"]
    with pytest.raises(BadInputError, match="12 classes"):
        plan_of(f"{grid}devices: [any, cpu]\nexclude: [{{dataset: many, device: cpu}}]\n")


LOADED = """\
models: [flat.safetensors, dynn.safetensors]
datasets: [{name: digits, limit: 50}]
thresholds: [0.5, 0.7]
batch_sizes: {throughput: [1, 8, 64]}
latency: {rounds: 2, warmup_images: 3}
measure: [throughput, serving]
serving: {arrivals: [10, 20.5], seconds: 30}
"""


def test_loads_are_a_cell_per_batch_size_or_rate(plan_of: Callable[[str], Plan]) -> None:
    """Of each route: whole batches of one task a round, and requests of the same images."""
    plan = plan_of(LOADED)
    throughput = [cell for cell in plan.cells if cell.kind == "throughput"]
    assert [(cell.model.name, cell.batch_size, cell.images) for cell in throughput[:3]] == [
        ("flat", 1, 50),
        ("flat", 8, 48),
        ("flat", 50, 50),  # a data set has no larger batch
    ]
    assert len(throughput) == 3 * 3
    # At least one whole batch for each of the three exits.
    assert [cell.warmup_images for cell in throughput[3:6]] == [3, 24, 150]
    served = [cell for cell in plan.cells if cell.kind == "serving"]
    asked = [(cell.model.name, cell.arrivals, cell.images, cell.rounds) for cell in served]
    assert asked[:2] == [("flat", Arrivals(10, 30), 50, 2), ("flat", Arrivals(20.5, 30), 50, 2)]
    assert [cell.threshold for cell in served[2:]] == [0.5, 0.5, *[float(np.float32(0.7))] * 2]
    assert len({cell.cell_id for cell in plan.cells}) == len(plan.cells) == 9 + 6
    tasks = make_blocks(plan, by_device=False)[0].tasks("r", frozenset())
    assert {task.arrivals for task in tasks if task.kind == "serving"} == {
        Arrivals(10, 30),
        Arrivals(20.5, 30),
    }
    rows = queued_rows(plan, "r")
    assert [(row.arrivals_per_s, row.arrivals_s, row.arrivals_seed) for row in rows[3:5]] == [
        (10, 30, 0),
        (20.5, 30, 0),
    ]
    assert rows[0].arrivals_per_s is None


def test_requests_take_no_more_images_than_fit(plan_of: Callable[[str], Plan]) -> None:
    """Of large images fewer are held on the device: at 224 pixels 445."""
    plan = plan_of(LOADED.replace("limit: 50", "split: train"))
    served = next(cell for cell in plan.cells if cell.kind == "serving")
    assert served.images == SHARD_IMAGES
    assert len(served.shards) == 1
    model = served.model
    large = replace(model.metadata.preprocessing, size=224, crop=224)
    assert (
        _held_images(replace(model, metadata=replace(model.metadata, preprocessing=large))) == 445
    )


def test_other_cells_keep_their_ids(plan_of: Callable[[str], Plan]) -> None:
    """A grid that is served, too, extends the run that it had: the rest is known."""
    text = LOADED.replace("throughput, serving", "accuracy, latency")
    before, after = plan_of(text), plan_of(text.replace("latency]", "latency, serving]"))
    ids = [cell.cell_id for cell in after.cells if cell.kind != "serving"]
    assert ids == [cell.cell_id for cell in before.cells]


def test_serving_has_no_effect_unless_measured(plan_of: Callable[[str], Plan]) -> None:
    """As for energy, the plan says so."""
    said = describe_skips(plan_of(LOADED.replace("throughput, serving", "latency")))
    assert said == ["`serving` has no effect: `measure` does not include serving"]


def test_until_has_no_effect_without_a_mean(plan_of: Callable[[str], Plan]) -> None:
    """The plan promises no rounds that nobody counts; how long serving takes no run has to tell."""
    plan = plan_of(
        LOADED.replace("throughput, serving", "serving").replace("rounds: 2", "until: 1%")
    )
    assert describe_skips(plan) == ["`until` has no effect: no cell has a mean time"]
    text = describe_plan(plan, Estimate(9.0, len(plan.cells), 0))
    assert "until each mean" not in text
    assert "about 9 s of device time, by `serving`" in text


def test_equal_ends_are_no_range(plan_of: Callable[[str], Plan]) -> None:
    """Three rounds are three."""
    plan = plan_of(LADDER + "latency: {until: 1%, rounds: {min: 3, max: 3}}\n")
    text = describe_plan(plan, Estimate(9.0, 9, 0))
    assert "\n3 rounds, until each mean" in text
    assert "50 x 3\n" in text


BORROWED = """\
models: [flat.safetensors, dynn.safetensors]
datasets: [{name: digits, limit: 50}]
thresholds: [0.5]
devices: [jetson]
accuracy: {borrow: cpu, sample: 20}
"""


def test_a_borrower_answers_a_sample_and_the_lender_only_answers(
    plan_of: Callable[[str], Plan],
) -> None:
    """The lender, which is none of the devices, is timed nowhere and asks for no point."""
    plan = plan_of(BORROWED)
    found = [
        (c.kind, c.model.name, c.setting.device, c.images, c.borrowed_from) for c in plan.cells
    ]
    assert found == [
        ("exits", "flat", "jetson", 20, "cpu"),
        ("latency", "flat", "jetson", 50, None),
        ("exits", "flat", "cpu", 50, None),
        ("exits", "dynn", "jetson", 20, "cpu"),
        ("latency", "dynn", "jetson", 50, None),
        ("exits", "dynn", "cpu", 50, None),
    ]
    assert plan.points == 2
    rows = queued_rows(plan, "r")
    assert [row.borrowed_from for row in rows] == ["cpu", None, None, "cpu", None, None]


def test_a_plan_says_what_is_borrowed(plan_of: Callable[[str], Plan]) -> None:
    """Once for all cells; nothing where nothing is."""
    said = describe_plan(plan_of(BORROWED), Estimate(0.0, 0, 0))
    assert "accuracy of jetson: borrowed from cpu, with a bound from a sample of 20 images" in said
    text = BORROWED.replace("sample: 20", "sample: 50")
    assert "borrowed" not in describe_plan(plan_of(text), Estimate(0.0, 0, 0))


def test_a_lender_among_the_devices_is_measured_as_without(plan_of: Callable[[str], Plan]) -> None:
    """Its cells are those of a grid without the key, by their ids; so are all timed ones."""
    text = BORROWED.replace("[jetson]", "[jetson, cpu]")
    without = {cell.cell_id for cell in plan_of(text.replace("accuracy:", "#")).cells}
    plan = plan_of(text)
    own = [cell for cell in plan.cells if cell.cell_id not in without]
    assert {(cell.kind, cell.setting.device) for cell in own} == {("exits", "jetson")}
    assert len(plan.cells) == len(without)


def test_a_sample_of_all_images_borrows_nothing(plan_of: Callable[[str], Plan]) -> None:
    """The cell is that of a grid without the key."""
    without = {cell.cell_id for cell in plan_of(BORROWED.replace("accuracy:", "#")).cells}
    for sample in (50, 500):
        cells = plan_of(BORROWED.replace("sample: 20", f"sample: {sample}")).cells
        assert {cell.cell_id for cell in cells if cell.setting.device == "jetson"} == without
        assert {cell.borrowed_from for cell in cells} == {None}


def test_another_sample_is_another_cell(plan_of: Callable[[str], Plan]) -> None:
    """Of another size; and a data set of as many images is another one too."""
    texts = (
        BORROWED,
        BORROWED.replace("sample: 20", "sample: 30"),
        BORROWED.replace("accuracy:", "#").replace("limit: 50", "limit: 20"),
    )
    ids = {
        cell.cell_id
        for text in texts
        for cell in plan_of(text).cells
        if (cell.kind, cell.setting.device, cell.model.name) == ("exits", "jetson", "dynn")
    }
    assert len(ids) == 3


def test_where_no_device_borrows_the_lender_does_not_answer(plan_of: Callable[[str], Plan]) -> None:
    """What is excluded on all devices is excluded on their lender."""
    plan = plan_of(f"{BORROWED}exclude: [{{model: flat, device: jetson}}]\n")
    assert {cell.model.name for cell in plan.cells} == {"dynn"}


def test_a_sample_is_skipped_if_its_lender_cannot_run_the_same(
    plan_of: Callable[[str], Plan],
) -> None:
    """It would be compared with nothing; what the device itself cannot run has its own reason."""
    text = BORROWED + "precisions: [float16]\n"
    skips = {(cell.kind, cell.setting.device): cell.skipped for cell in plan_of(text).cells}
    assert "float16" in (skips["exits", "cpu"] or "")
    assert skips["exits", "jetson"] == (
        f"its accuracy cannot be borrowed from cpu: {skips['exits', 'cpu']}"
    )
    assert skips["latency", "jetson"] is None


def test_a_sample_of_all_images_has_no_effect(plan_of: Callable[[str], Plan]) -> None:
    """The plan says so for each such data set, and that the lender is not here."""
    plan = plan_of(BORROWED.replace("sample: 20", "sample: 50"))
    (said,) = describe_skips(plan)
    assert " ".join(said.split()) == (
        "`accuracy` has no effect on digits, which has 50 images, no more than the sample of 50:"
        " every device answers all of them"
    )
    lent = plan_of(BORROWED.replace("[jetson]", "[cpu]").replace("borrow: cpu", "borrow: jetson"))
    shown = describe_plan(lent, Estimate(0, 0, 9))
    assert "device jetson is not one of this machine" in shown
