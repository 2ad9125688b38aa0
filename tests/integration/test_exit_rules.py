"""Every exit rule on every engine for processors: no route differs from its replay."""

from __future__ import annotations

from pathlib import Path

from click.testing import CliRunner

import gfnet
import storage
from jobs.cli import main

GRID = f"""\
models: [digits-dynn]
datasets: [{{name: digits, limit: 12}}]
exit_rules: [{", ".join(gfnet.EXIT_RULES)}]
thresholds: [0.4]
threads: [1]
runtimes: [torch, onnx, openvino]
batch_sizes: {{accuracy: 1}}
latency: {{rounds: 1, warmup_images: 4, images: 12}}
"""


def test_every_rule_is_certified_on_every_engine(tmp_path: Path) -> None:
    """In float32 at batch 1: 5 rules, 3 engines, 12 images."""
    (tmp_path / "rules.yaml").write_text(GRID)
    root = tmp_path / "results"
    for words in (["submit", str(tmp_path / "rules.yaml"), "--inline", "--run", "r"], ["certify"]):
        result = CliRunner().invoke(main, [*words, "--results", str(root)])
        assert result.exit_code == 0, result.output
    assert "certified: all 180 routes equal the all-exit pass" in result.output
    done = storage.query(
        root, "SELECT DISTINCT runtime, exit_rule FROM cells WHERE status = 'done'"
    )
    assert done.num_rows == 3 * len(gfnet.EXIT_RULES)
