"""The table below a ladder: how far other engines are from eager float32."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

import storage
from jobs.report.terminal import agreement


@pytest.fixture
def engines(ran: Callable[[str], Path]) -> Path:
    """Results with the run `r`: two models in two precisions."""
    return ran(
        "models: [flat.safetensors, dynn.safetensors]\n"
        "datasets: [{name: digits, limit: 12}]\n"
        "thresholds: [0.75]\nthreads: [1]\n"
        "precisions: [float32, bfloat16]\nlatency: {rounds: 2, warmup_images: 2, images: 6}\n"
        "measure: [accuracy, latency]\n"
    )


def test_agreement_with_eager_float32(engines: Path) -> None:
    """A line for each cell that ran on another engine, as the rows of both say, in 80 columns."""
    rows = storage.query(
        engines,
        "select a.*, c.kind, c.model, c.runtime, c.precision from reference_agreement a"
        " join cells c using (run_id, cell_id) order by c.position",
    ).to_pylist()
    ran = storage.query(engines, "select distinct runtime, precision from exits").to_pylist()
    others = [
        (r["runtime"], r["precision"]) for r in ran if list(r.values()) != ["torch", "float32"]
    ]
    assert others == [("torch", "bfloat16")]
    found = [(r["kind"], r["model"], r["runtime"], r["precision"], r["round"]) for r in rows]
    assert sorted(found) == sorted(
        (kind, model, *engine, 0)
        for kind in ("exits", "latency")
        for model in ("flat", "dynn")
        for engine in others
    )
    for row in rows:
        assert 0 < row["max_logit_difference"] < 0.5
        assert row["images"] == (12 if row["kind"] == "exits" else 6)
        assert (row["exit_flips"] is None) == (row["kind"] == "exits")
    # The gates of an all-exit pass stand in `exits` too, of both engines.
    gates = storage.query(
        engines,
        "select x.cell_id, max(abs(x.gate_score::double - y.gate_score::double)) as furthest,"
        " count(*) filter (x.prediction != y.prediction) as flips"
        " from exits x join exits y using (run_id, model, image_id, exit_block)"
        " where (y.runtime, y.precision) = ('torch', 'float32') group by all",
    ).to_pylist()
    by_cell = {gate["cell_id"]: gate for gate in gates}
    for row in rows:
        if row["kind"] == "exits":
            gate = by_cell[row["cell_id"]]
            assert row["max_gate_difference"] == gate["furthest"], "NULL of a static model"
            assert row["answer_flips"] == gate["flips"]
    text = agreement.agreement(engines, "r")
    assert text.startswith("agreement with eager float32 (of a bundle: with its graphs in ONNX")
    assert "digits on cpu of " in text
    lines = [line.split() for line in text.splitlines() if line.startswith((" flat", " dynn"))]
    assert len(lines) == len(rows)
    shown = {tuple(line[:3]): line for line in lines if line[3] == "all"}
    for row in rows:
        if row["kind"] == "exits":
            line = shown[row["model"], row["runtime"], row["precision"]]
            logit = float(f"{row['max_logit_difference']:.2g}")
            assert (line[4], float(line[5]), line[7]) == ("12", logit, "–")
            assert int(line[6]) == row["answer_flips"]
    assert {line[3] for line in lines} == {"all", "–", "0.75"}
    assert max(map(len, text.splitlines())) <= 80
