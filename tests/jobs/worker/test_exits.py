"""Rows of an all-exit pass against the model's own answers."""

from __future__ import annotations

import math

import pytest
import torch
from support.worker import Bench

import gfnet
from jobs.worker.run_task import run_task


def test_exit_rows_are_the_models_answers(bench: Bench) -> None:
    """Each image at each exit: score, prediction, loss and features; the last has no gate."""
    task = bench.task("exits", "dynn")
    rows = bench.rows(task, "exits")
    batch, ids, labels = bench.images(task)
    outputs = bench.model(task).forward_exits(batch)
    features = gfnet.gate_features(outputs.logits)
    assert len(rows["image_id"]) == 60
    by_key = {
        (b, i): n for n, (b, i) in enumerate(zip(rows["exit_block"], rows["image_id"], strict=True))
    }
    for exit_, block in enumerate((1, 3, 4)):
        for image, image_id in enumerate(ids):
            row = by_key[block, image_id]
            logits = outputs.logits[exit_, image]
            assert rows["label"][row] == labels[image]
            assert rows["prediction"][row] == int(logits.argmax())
            loss = torch.nn.functional.cross_entropy(logits, torch.tensor(labels[image]))
            assert rows["loss"][row] == pytest.approx(float(loss), abs=1e-5)
            max_prob, entropy, margin, _ = features[exit_, image].tolist()
            assert rows["max_prob"][row] == pytest.approx(max_prob, abs=1e-5)
            assert rows["entropy"][row] == pytest.approx(entropy, abs=1e-5)
            assert rows["margin"][row] == pytest.approx(margin, abs=1e-5)
            score = rows["gate_score"][row]
            if block == 4:
                assert score is None
            else:
                assert score == pytest.approx(float(outputs.gate_scores[exit_, image]), abs=1e-6)


def test_a_nan_gate_is_nan_in_exits(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """NaN says that a gate failed, NULL that there is none."""
    task = bench.task("exits", "dynn")
    model = bench.model(task)
    torch.nn.init.constant_(model.get_parameter("gates.1.linear.bias"), math.nan)
    monkeypatch.setattr(gfnet, "load_checkpoint", lambda *_, **__: model)
    outcome = run_task(task, lambda: b"", bench.sources.shard(task))
    table = outcome.tables["exits"].to_pydict()
    scores = dict(zip(table["exit_block"], table["gate_score"], strict=True))
    assert math.isnan(scores[1])
    assert scores[3] is not None
    assert scores[4] is None
