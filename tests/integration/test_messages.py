"""What a run writes on stderr: lines of ours alone, whatever Ray, torch and other engines say."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from .commands import PATIENCE_S

OURS = re.compile(
    r"(running|resuming) \S+: \d+ cells?, \d+ tasks? to go"
    r"|\d+ cells? will be skipped: .*"
    r"|reading \S+"
    r"|starting Ray"
    r"|\d+/\d+ cells, [\d,]+/[\d,]+ images(, [\d,]+ images/s(, .* left)?)?"
    r"|rows: .*|next, try:|  gfjobs .*"
    r"|\w+ of \S+ on \S+ was lost: .*|gfjobs: .*"
)
ENGINES = """\
models: [digits-dynn]
datasets: [{name: digits, limit: 8}]
thresholds: [0.5]
threads: [1]
runtimes: [torch, compile, onnx, openvino]
latency: {rounds: 1, warmup_images: 1, images: 2}
"""


@pytest.mark.parametrize("options", [[], ["--inline"]], ids=["ray", "inline"])
def test_a_run_of_all_engines_says_nothing_but_our_lines(
    tmp_path: Path, options: list[str]
) -> None:
    """With a folder of CUDA and no GPU, torch warns while it compiles."""
    (tmp_path / "g.yaml").write_text(ENGINES)
    code = "import sys; sys.argv[0] = 'gfjobs'; from jobs.cli import main; main()"
    words = ["submit", str(tmp_path / "g.yaml"), "--results", str(tmp_path / "results"), *options]
    done = subprocess.run(
        [sys.executable, "-c", code, *words],
        env=os.environ | {"CUDA_HOME": "/usr/local"},
        capture_output=True,
        text=True,
        timeout=2 * PATIENCE_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "8/8 cells" in done.stderr
    assert [line for line in done.stderr.splitlines() if not OURS.fullmatch(line)] == []


@pytest.mark.parametrize("name", ["raylet", "gcs_server"])
def test_a_ray_that_ends_is_told_in_our_words(place: Any, processes: Any, name: str) -> None:
    """Ray's C++ would speak of lost objects, or end the command after a minute of silence."""
    command = place.submit()
    processes.until(lambda: place.commits() >= 2, "2 commits")
    (pid,) = [
        pid for pid in processes.below(command.pid) if processes.name(pid).endswith(f"/{name}")
    ]
    os.kill(pid, signal.SIGKILL)
    code, _, err = command.outcome(30)
    assert code == 1
    assert f"gfjobs: the Ray of this run has ended: its {name} was killed" in err
    unfolded = re.sub(r"\n  (?!gfjobs)", " ", err)  # a long line goes on in indented ones
    assert [line for line in unfolded.splitlines() if not OURS.fullmatch(line)] == []
    code, said = place.command("resume", "r", "--results", place.root, "--inline").end()
    assert code == 0, said
    place.assert_like_an_undisturbed_run()
