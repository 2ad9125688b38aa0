"""One task on this machine, whatever comes of it."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from support.worker import Bench

import storage
from jobs.driver.run_writer import with_clock_remark
from jobs.machine import node_info as node_module
from jobs.machine.devices import use_device
from jobs.machine.node_info import describe_node
from jobs.worker import run_task as worker
from jobs.worker.run_task import run_task


def test_what_the_device_found_lacks_is_skipped(bench: Bench) -> None:
    """`any` was free to be one that has it; the model is not even fetched."""
    task = replace(bench.task("exits", "flat"), precision="float16", device="any")

    def fetch() -> bytes:
        raise AssertionError

    outcome = run_task(task, fetch, bench.sources.shard(task))
    assert outcome.skipped == "float16 is not supported on a CPU: choose bfloat16"
    assert (outcome.tables, outcome.error) == ({}, "")


def test_weights_are_fetched_once(bench: Bench) -> None:
    """The worker keeps the models it has loaded, up to a number."""
    task = bench.task("latency", "flat")
    fetched = []

    def weights() -> bytes:
        fetched.append(1)
        return bench.sources.weights(task)

    for _ in range(3):
        assert not run_task(task, weights, bench.sources.shard(task)).error
    assert len(fetched) == 1
    for number in range(worker.KEPT_MODELS):
        other = replace(task, checkpoint_sha256=str(number))
        run_task(other, weights, bench.sources.shard(task))
    assert len(worker._models) == worker.KEPT_MODELS
    run_task(task, weights, bench.sources.shard(task))
    assert len(fetched) == worker.KEPT_MODELS + 2


def test_a_failure_is_an_outcome(bench: Bench) -> None:
    """Whatever goes wrong comes back with its traceback; the worker lives on."""
    task = replace(bench.task("exits", "flat"), device="cuda")
    outcome = run_task(task, lambda: b"", bench.sources.shard(task))
    assert "sees no device 'cuda'" in outcome.error
    broken = run_task(bench.task("exits", "flat"), lambda: b"broken", bench.sources.shard(task))
    assert "CheckpointError" in broken.error
    assert broken.node is not None
    assert not broken.is_lost


def test_the_node_says_whether_its_clocks_are_locked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As its files do when its task begins; where they say nothing it is unknown."""
    monkeypatch.setattr(node_module, "ROOT", tmp_path)
    device = use_device("cpu")
    assert describe_node("r", device).are_clocks_locked is None
    cpufreq = tmp_path / "sys/devices/system/cpu/cpu0/cpufreq"
    cpufreq.mkdir(parents=True)
    (cpufreq / "scaling_governor").write_text("schedutil\n")
    for least_khz, is_locked in ((729600, False), (1510400, True)):
        (cpufreq / "scaling_min_freq").write_text(f"{least_khz}\n")
        (cpufreq / "scaling_max_freq").write_text("1510400\n")
        assert describe_node("r", device).are_clocks_locked is is_locked


def test_an_outcome_has_the_time_of_its_nodes_clock(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By which the driver tells a clock that is minutes off."""
    monkeypatch.setattr(worker, "time", SimpleNamespace(time=lambda: 7e8, perf_counter=lambda: 0.0))
    task = bench.task("exits", "flat")
    outcome = run_task(task, lambda: bench.sources.weights(task), bench.sources.shard(task))
    assert outcome.ended_s == pytest.approx(7e8)
    assert "min behind the driver's" in with_clock_remark(outcome, 7e8 + 300).note


def test_undecodable_images_are_named_in_the_note(bench: Bench) -> None:
    """The others go on; a shard of nothing else gives no rows, and no failure of the worker."""
    task = bench.task("exits", "flat")
    images = bench.sources.shard(task)
    column = images.column("image").to_pylist()
    spoiled = images.set_column(3, "image", [[b"x", *column[1:]]])
    outcome = run_task(task, lambda: bench.sources.weights(task), spoiled)
    assert outcome.images == 19
    path, image_id = images.column("path")[0].as_py(), images.column("image_id")[0].as_py()
    said = f"{path} of {task.dataset} (image_id {image_id}) not decoded: "
    assert [remark.startswith(said) for remark in outcome.undecoded] == [True]
    assert outcome.noted == outcome.undecoded[0]
    assert image_id not in outcome.tables["exits"].column("image_id").to_pylist()
    nothing = images.set_column(3, "image", [[b"x"] * 20])
    for kind in ("exits", "latency", "profile"):
        task = bench.task(kind, "flat")
        outcome = run_task(task, lambda: bench.sources.weights(task), nothing)  # noqa: B023
        assert (outcome.images, outcome.tables, outcome.error) == (0, {}, "")
        assert len(outcome.undecoded) == worker.NAMED_FAILURES + 1
        assert outcome.undecoded[-1].startswith(f"15 more of {task.dataset} not decoded (image_id ")


def test_a_decoders_words_are_one_note(bench: Bench) -> None:
    """Notes are told apart by semicolons, of which a reason may have some."""
    wide = io.BytesIO()
    Image.fromarray(np.zeros((2, 2), np.float32)).save(wide, "TIFF")
    task = bench.task("exits", "flat")
    images = bench.sources.shard(task)
    images = images.set_column(3, "image", [[wide.getvalue()] * 20])
    outcome = run_task(task, lambda: bench.sources.weights(task), images)
    assert "have no known range, save 8 or 16 bits" in outcome.noted
    assert ";" not in outcome.note


def test_ignored_orientations_are_noted(bench: Bench) -> None:
    """Once a cell, in the same words for each shard; in the images' own order nothing changes."""
    task = bench.task("exits", "flat")
    images = bench.sources.shard(task)
    assert run_task(task, lambda: bench.sources.weights(task), images).note == ""
    file, tag = io.BytesIO(), Image.Exif()
    tag[0x0112] = 6
    Image.open(io.BytesIO(images.column("image")[3].as_py())).save(file, "PNG", exif=tag)
    column = images.column("image").to_pylist()
    turned = images.set_column(3, "image", [[*column[:3], file.getvalue(), *column[4:]]])
    assert run_task(task, lambda: bench.sources.weights(task), turned).note == worker.TURNED


def test_the_node_says_why_figures_are_missing() -> None:
    """What is not read is NULL, and the note says so."""
    row = describe_node("r", use_device("cpu"))
    assert isinstance(row, storage.NodeRow)
    assert (row.power_source, row.accelerator, row.are_clocks_locked) == (None, None, None)
    assert str(row.note).startswith("power: no source: ina3221 (no hwmon device of that name)")
    assert row.torch == torch.__version__.split("+")[0] or row.torch == torch.__version__


def test_only_the_first_task_of_a_model_starts_it(bench: Bench) -> None:
    """Later ones find model and engine kept; the peaks are of each task."""
    worker._models.clear()
    task = replace(bench.task("latency", "flat"), precision="bfloat16")
    first, second = (
        run_task(task, lambda: bench.sources.weights(task), bench.sources.shard(task)).resources
        for _ in range(2)
    )
    assert first.load_s is not None
    assert first.build_s is not None
    assert first.first_answer_s is not None
    assert first.first_answer_s > first.load_s + first.build_s > 0
    assert (second.load_s, second.build_s, second.first_answer_s) == (None, None, None)
    assert second.peak_device_bytes is None


def test_eager_float32_has_no_engine_to_build(bench: Bench) -> None:
    """The model is loaded and answers."""
    worker._models.clear()
    task = bench.task("exits", "dynn")
    taken = run_task(task, lambda: bench.sources.weights(task), bench.sources.shard(task)).resources
    assert taken.build_s is None
    assert taken.load_s is not None
    assert taken.first_answer_s is not None
    assert taken.first_answer_s > taken.load_s
