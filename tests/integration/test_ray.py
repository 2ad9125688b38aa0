"""Ray for real: the same rows as in one process, whatever is interrupted or killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import storage

PATIENCE_S = 120


def test_ray_gives_the_rows_of_the_inline_executor(place: Any) -> None:
    """Every value but the timings, and no process is left."""
    command = place.submit()
    code, said = command.end()
    assert code == 0, said
    assert "5/5 cells" in said
    place.assert_like_an_undisturbed_run()


STRANGER = """
import sys
from jobs.fanout.connection import start_here
start_here()
import ray, subprocess
address = ray.get_runtime_context().gcs_address
asking = [sys.executable, "-c", "import ray._raylet, sys; ray._raylet.GcsClient(sys.argv[1])"]
environment = {"HOME": sys.argv[1], "RAY_AUTH_MODE": "disabled"}
asked = subprocess.run([*asking, address], capture_output=True, text=True, env=environment)
print("refused" if "InvalidAuthToken" in asked.stderr else asked.stderr)
"""


def test_a_ray_of_our_own_has_a_token_where_the_machine_has_none(tmp_path: Path) -> None:
    """A new user's: nobody else on the network may use it, and nothing is left in the home."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("RAY_")}
    said = subprocess.run(
        [sys.executable, "-c", STRANGER, str(tmp_path)],
        env={**environment, "HOME": str(tmp_path)},
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert said.stdout.splitlines() == ["refused"], said.stdout + said.stderr
    assert not (tmp_path / ".ray").exists()


def test_a_killed_driver_leaves_a_run_that_resumes(place: Any, processes: Any) -> None:
    """After kill -9 in the middle: no task runs on, and resume runs what is missing."""
    command = place.submit()
    processes.until(lambda: place.commits() >= 9, "9 commits")
    below = processes.below(command.process.pid)
    os.kill(command.process.pid, signal.SIGKILL)
    command.end()
    # Two small agents of Ray's look for it a minute longer; they run nothing of ours.
    works = [pid for pid in below if "Agent" not in processes.name(pid)]
    processes.until(lambda: not any(map(processes.is_alive, works)), "raylet and workers to end")
    (run,) = storage.list_runs(place.root)
    assert run.status == "interrupted"
    committed = place.commits()
    code, said = place.command("resume", "latest", "--results", place.root).end()
    assert code == 0, said
    assert f"{20 - committed} tasks to go" in said
    place.assert_like_an_undisturbed_run()


def test_an_interrupted_run_leaves_no_process_and_resumes(place: Any, processes: Any) -> None:
    """Ctrl-C, as a terminal sends it to the whole group."""
    command = place.submit()
    processes.until(lambda: place.commits() >= 2, "2 commits")
    below = processes.below(command.process.pid)
    assert below, "Ray runs in processes of its own"
    os.killpg(command.process.pid, signal.SIGINT)
    code, said = command.end()
    assert code == 1, said
    assert "gfjobs resume" in said
    assert "Traceback" not in said
    processes.until(lambda: not any(map(processes.is_alive, below)), "Ray's processes to end")
    code, said = place.command("resume", "r", "--results", place.root, "--inline").end()
    assert code == 0, said
    place.assert_like_an_undisturbed_run()


def test_a_killed_worker_costs_a_try_and_no_row(place: Any, processes: Any) -> None:
    """The driver gives its task out again."""
    command = place.submit()
    processes.until(lambda: place.commits() >= 4, "4 commits")
    killed: list[int] = []

    def kill_one() -> bool:
        for pid in processes.below(command.process.pid):
            if processes.name(pid).startswith(("ray::latency", "ray::exits")):
                os.kill(pid, signal.SIGKILL)
                killed.append(pid)
                break
        return bool(killed)

    processes.until(kill_one, "a worker at work")
    code, said = command.end()
    assert code == 0, said
    assert "was lost" in said
    attempts = storage.query(place.root, "select max(attempts) a from cells").to_pylist()
    assert attempts == [{"a": 2}]
    place.assert_like_an_undisturbed_run()


def test_no_cluster_at_the_address(place: Any) -> None:
    """Said in words within seconds, and nothing was written."""
    for address, words in (
        ("127.0.0.1:1", "no Ray cluster answers at '127.0.0.1:1'"),
        ("nowhere", "is not HOST:PORT"),
    ):
        code, said = place.submit("--address", address).end()
        assert code == 2
        assert words in said
        assert "Traceback" not in said
    assert not place.root.exists()


def test_something_else_at_the_address(place: Any) -> None:
    """A web server: every command says so within seconds, without a line of Ray's own log."""
    with HTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as web:
        thread = threading.Thread(target=web.serve_forever, daemon=True)
        thread.start()
        address = f"127.0.0.1:{web.server_port}"
        began_s = time.monotonic()
        commands = {
            2: [
                place.submit("--address", address),
                place.command("nodes", "--address", address),
                place.command("node", "start", "--address", address),
            ],
            1: [place.command("doctor", "--address", address)],
        }
        for expected, started in commands.items():
            for command in started:
                code, said = command.end()
                assert code == expected, said
                assert "something else than Ray" in " ".join(said.split())
                assert "rpc" not in said.lower().replace("grpc", "")
                assert "Traceback" not in said
        assert time.monotonic() - began_s < 30
        web.shutdown()
        thread.join()
    assert not place.root.exists()


def test_a_running_cluster_serves(place: Any, ray_cluster: str) -> None:
    """Over --address, with the timing resource on its node: the same rows."""
    code, said = place.submit("--address", ray_cluster).end()
    assert code == 0, said
    place.assert_like_an_undisturbed_run()


RECIPE = """\
name: tiny
stage: baseline
dataset: digits
validation: {fraction: 0.15, seed: 0}
model: {img_size: 8, patch_size: 4, embed_dim: 8, depth: 3}
preprocessing: {size: 8}
epochs: 3
batch_size: 64
learning_rate: 0.003
weight_decay: 0.05
warmup_epochs: 1
seed: 0
precision: float32
threads: 1
output: tiny.safetensors
"""


def test_a_training_on_a_node_gives_the_same_weights(place: Any, ray_cluster: str) -> None:
    """As a Ray task: the same file as in this process, with its rows and no state left behind."""
    recipe = place.root.parent / "tiny.yaml"
    recipe.write_text(RECIPE)
    outputs = []
    for name, options in {"here": (), "there": ("--address", ray_cluster)}.items():
        outputs.append(recipe.parent / name / "tiny.safetensors")
        results = ("--results", place.root.parent / f"{name}-results")
        code, said = place.command(
            "train", recipe, "-o", outputs[-1], "--device", "cpu", *options, *results
        ).end()
        assert code == 0, said
        assert "model 3/3: loss" in said
        rows = storage.query(results[1], "select epoch, node from training order by epoch")
        assert rows["epoch"].to_pylist() == [1, 2, 3]
        assert [path.name for path in outputs[-1].parent.iterdir()] == ["tiny.safetensors"]
    assert outputs[0].read_bytes() == outputs[1].read_bytes()


def test_a_device_that_no_node_has_is_refused(place: Any, ray_cluster: str) -> None:
    """The message says which there are."""
    recipe = place.root.parent / "tiny.yaml"
    recipe.write_text(RECIPE)
    code, said = place.command(
        "train", recipe, "--device", "jetson-orin-nano", "--address", ray_cluster
    ).end()
    assert code == 1, said
    assert "the cluster has no device 'jetson-orin-nano'; it has: any, cpu" in said


def test_a_training_that_is_killed_twice_ends_with_the_same_weights(
    place: Any, processes: Any
) -> None:
    """A kill -9 at two moments, then --resume: bit-identical, and each row once."""
    recipe = place.root.parent / "tiny.yaml"
    recipe.write_text(RECIPE.replace("epochs: 3", "epochs: 12", 1))
    whole, part = (recipe.parent / name / "tiny.safetensors" for name in ("whole", "part"))
    results = ("--results", place.root)
    code, said = place.command("train", recipe, "-o", whole, "--results", place.root / "w").end()
    assert code == 0, said
    state = part.with_name("tiny.safetensors.training")
    for kills, epochs in enumerate((2, 6)):
        command = place.command("train", recipe, "-o", part, *results, *["--resume"] * kills)
        processes.until(lambda least=epochs: _epochs(place.root) >= least, "some epochs")
        command.process.kill()
        command.end()
        assert state.exists()
        assert not part.exists()
    code, said = place.command("train", recipe, "-o", part, *results).end()
    assert code == 2, said
    assert "add --resume to go on" in said
    code, said = place.command("train", recipe, "-o", part, *results, "--resume").end()
    assert code == 0, said
    assert part.read_bytes() == whole.read_bytes()
    assert [path.name for path in part.parent.iterdir()] == ["tiny.safetensors"]
    rows = storage.query(place.root, "select epoch from training order by epoch")
    assert rows["epoch"].to_pylist() == list(range(1, 13))


def test_ctrl_c_says_how_to_go_on(place: Any, processes: Any) -> None:
    """The command to copy is the one that was given, with --resume."""
    recipe = place.root.parent / "tiny.yaml"
    recipe.write_text(RECIPE.replace("epochs: 3", "epochs: 500", 1))
    command = place.command("train", recipe, "--results", place.root)
    processes.until(lambda: _epochs(place.root) >= 1, "an epoch")
    command.process.send_signal(signal.SIGINT)
    code, said = command.end()
    assert code == 1, said
    assert f"train {recipe} --results {place.root} --resume" in said


def _epochs(root: Any) -> int:
    """Epochs that the table training shows so far."""
    if not (root / "training").is_dir():
        return 0
    rows = storage.query(root, "select count(*) as epochs from training")
    return int(rows["epochs"][0].as_py())


def test_a_second_driver_is_kept_out(place: Any, processes: Any) -> None:
    """Two commands on one run: the second ends with 2 and says who has it."""
    command = place.submit()
    processes.until(lambda: place.commits() >= 1, "a commit")
    code, said = place.command("resume", "r", "--results", place.root).end()
    assert code == 2, said
    assert str(command.process.pid) in said
    code, said = command.end()
    assert code == 0, said
