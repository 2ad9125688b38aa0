"""Bundles in grids, as a user has them: from a model of one's own to a certified frontier.

The oracle of an exported bundle is its checkpoint in eager torch, cell by cell.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image
from support import engines
from support.own import OWN, own_script

import gfnet
import storage
from gfnet.bundle.writer import save_bundle_thresholds
from jobs.cli import main

CLOSE, NEAR = 1e-4, 1e-5
LADDER = """\
models:
  - {name: model, checkpoint: digits-dynn}
  - {name: bundle, checkpoint: made.gfbundle}
datasets: [{name: digits, limit: 60}]
thresholds: [0.5, 0.9]
exit_rules: [gate, margin]
runtimes: [torch, onnx]
threads: [1]
batch_sizes: {latency: 4, accuracy: 32}
measure: [accuracy, latency]
latency: {rounds: 1, warmup_images: 4}
exclude: [{model: bundle, runtime: torch}, {model: model, runtime: onnx}, {model: bundle@margin, runtime: torch}, {model: model@margin, runtime: onnx}]
"""  # noqa: E501


@pytest.fixture(autouse=True)
def _threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def command(*words: object) -> str:
    """What a command says; it ends well."""
    done = CliRunner().invoke(main, [str(word) for word in words])
    assert done.exit_code == 0, done.output
    return done.output


def rows_of(root: Path, sql: str) -> list[dict[str, Any]]:
    """Rows of a query."""
    rows: list[dict[str, Any]] = storage.query(root, sql).to_pylist()
    return rows


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results of a checkpoint on eager torch and of its bundle on ONNX Runtime."""
    folder: Path = tmp_path_factory.mktemp("both")
    command("export", "digits-dynn", "-o", folder / "made.gfbundle")
    (folder / "grid.yaml").write_text(LADDER)
    command(
        "submit", folder / "grid.yaml", "--inline", "--run", "r", "--results", folder / "results"
    )
    return folder / "results"


EXITS = """
select c.model, e.image_id, e.exit_block, e.prediction, e.label, e.gate_score, e.max_prob,
    e.margin, e.entropy
from exits e join cells c using (run_id, cell_id)
order by c.model, e.exit_block, e.image_id
"""


@pytest.mark.parametrize("rule", ["", "@margin"])
def test_a_bundles_exits_are_its_checkpoints(both: Path, rule: str) -> None:
    """Every score within 1e-4, and the same predictions, under the gate and by the logits."""
    rows = rows_of(both, EXITS)
    ours, theirs = (
        [row for row in rows if row["model"] == name + rule] for name in ("bundle", "model")
    )
    assert len(ours) == len(theirs) == 4 * 60
    for row, wanted in zip(ours, theirs, strict=True):
        for key in ("image_id", "exit_block", "label", "prediction"):
            assert row[key] == wanted[key]
        for key in ("gate_score", "max_prob", "margin", "entropy"):
            assert row[key] == pytest.approx(wanted[key], abs=CLOSE)


ROUTES = """
select c.model, c.threshold, r.image_id, r.exit_block, r.prediction, r.gate_score
from records r join cells c using (run_id, cell_id)
order by c.model, c.threshold, r.image_id
"""


@pytest.mark.parametrize("rule", ["", "@margin"])
def test_a_bundles_routes_are_its_checkpoints(both: Path, rule: str) -> None:
    """The same exit, unless a score lies within 1e-5 of its threshold."""
    rows = rows_of(both, ROUTES)
    ours, theirs = (
        [row for row in rows if row["model"] == name + rule] for name in ("bundle", "model")
    )
    assert len(ours) == len(theirs) == 2 * 60
    near = {
        (row["image_id"], limit)
        for row in rows_of(both, EXITS)
        if row["model"] == "model" + rule and row["gate_score"] is not None
        for limit in {row["threshold"] for row in theirs}
        if abs(row["gate_score"] - limit) <= NEAR
    }
    taken = set()
    for row, wanted in zip(ours, theirs, strict=True):
        assert row["image_id"] == wanted["image_id"]
        if (row["image_id"], wanted["threshold"]) not in near:
            assert (row["exit_block"], row["prediction"]) == (
                wanted["exit_block"],
                wanted["prediction"],
            )
            taken.add(row["exit_block"])
    assert len(taken) > 1


def test_a_bundles_cells_say_what_it_is(both: Path) -> None:
    """Its digest, its size, and the costs of its checkpoint with filters as matrix products."""
    bundle = gfnet.inspect_bundle(both.parent / "made.gfbundle")
    sql = "select * from cells where status = 'done' and kind = 'exits'"
    cells = {row["model"]: row for row in rows_of(both, sql)}
    ours, theirs = cells["bundle"], cells["model"]
    assert ours["checkpoint_sha256"] == bundle.digest
    assert ours["checkpoint_bytes"] == sum(map(len, bundle.files.values()))
    for key in ("depth", "exit_blocks", "exit_params", "num_classes"):
        assert ours[key] == theirs[key]
    assert ours["exit_multiply_adds"] == ours["exit_executed_multiply_adds"]
    assert ours["exit_multiply_adds"][0] > theirs["exit_multiply_adds"][0]


def test_a_run_of_a_bundle_is_resumed_while_it_is_the_same(both: Path, tmp_path: Path) -> None:
    """Nothing runs again; with other thresholds in its manifest it is another model."""
    folder = Path(shutil.copytree(both.parent, tmp_path / "both"))
    submit = ("submit", folder / "grid.yaml", "--inline", "--run", "r", "--results")
    before = rows_of(folder / "results", "select * from commits order by all")
    command(*submit, folder / "results")
    assert rows_of(folder / "results", "select * from commits order by all") == before
    save_bundle_thresholds(folder / "made.gfbundle", folder / "made.gfbundle", (0.1, 0.2, 0.3))
    done = CliRunner().invoke(main, [str(word) for word in (*submit, folder / "results")])
    assert done.exit_code != 0
    assert "checkpoint of model bundle" in done.output


@pytest.fixture(scope="module")
def foreign(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A torchvision ResNet with two exits as a bundle, trained on noise, and its grid beside it."""
    folder: Path = tmp_path_factory.mktemp("foreign")
    example = own_script("bundle")
    torch.manual_seed(0)
    random = np.random.default_rng(0)
    for split, each in (("train", 2), ("test", 15)):
        for name in "abc":
            (folder / "images" / split / name).mkdir(parents=True)
            for number in range(each):
                pixels = random.integers(0, 256, (8, 8, 3), np.uint8)
                Image.fromarray(pixels).save(folder / f"images/{split}/{name}/{number}.png")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(example, "HERE", folder)
        example.main(str(folder / "resnet"), "1")
    shutil.copy(OWN / "bundle.yaml", folder)
    return folder


@pytest.mark.filterwarnings("ignore")  # of the exporter, about its own internals
def test_a_foreign_model_is_a_bundle(foreign: Path) -> None:
    """Written by plain torch, with what each stage costs."""
    bundle = gfnet.load_bundle(foreign / "resnet")
    sessions = gfnet.try_bundle(bundle)
    manifest = bundle.manifest
    assert (manifest.exit_blocks, manifest.exit_rule) == ((0,), "max_prob")
    assert manifest.class_names == ("a", "b", "c")
    found = sessions.exits(engines.images_of(5, seed=3, side=16).numpy())
    assert [each.logits.shape for each in found] == [(5, 3), (5, 3)]
    first, last = manifest.stages
    # conv1 7 x 7 to 8 x 8, layer1 two 3 x 3 at 4 x 4, and the head; as torchvision has them.
    assert first.multiply_adds == 8 * 8 * 64 * 3 * 49 + 2 * 16 * 64 * 64 * 9 + 64 * 3
    assert first.parameters == 9408 + 128 + 2 * (36864 + 128) + 64 * 3 + 3
    layer2, layer3 = 73728 + 147456 + 8192 + 3 * 256, 294912 + 589824 + 32768 + 3 * 512
    assert last.parameters == layer2 + layer3 + 256 * 3 + 3


@pytest.mark.filterwarnings("ignore")  # as above
def test_a_foreign_model_runs_without_gfjobs(
    foreign: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """By the script that knows the documentation alone; no thresholds are 0.5 each."""
    own_script("run_bundle").main(str(foreign / "resnet"))
    assert re.fullmatch(r"(class [012] after block [02]\n){8}", capsys.readouterr().out)


@pytest.mark.filterwarnings("ignore")  # as above
def test_a_foreign_model_has_a_certified_frontier(foreign: Path, tmp_path: Path) -> None:
    """As docs/bundles.md has it: submitted, certified, chosen from; its choice is a bundle."""
    root = foreign / "results"
    command("submit", foreign / "bundle.yaml", "--inline", "--run", "foreign", "--results", root)
    said = command("certify", "foreign", "--results", root)
    assert "certified: all" in said
    points = rows_of(root, "from frontier('foreign') where model = 'resnet'")
    assert len(points) > 3
    assert min(point["mean_blocks"] for point in points) == 1.0
    costs = rows_of(root, "select exit_block, count(*) n from exit_costs group by all order by 1")
    assert [(row["exit_block"], row["n"]) for row in costs] == [(0, 3 * 45), (2, 3 * 45)]
    chosen = tmp_path / "chosen.gfbundle"
    command("choose", "foreign", "--results", root, "--max-blocks", "2.9", "--write", chosen)
    manifest = gfnet.inspect_bundle(chosen).manifest
    assert len(manifest.thresholds) == 1
    assert manifest.stages == gfnet.inspect_bundle(foreign / "resnet").manifest.stages
