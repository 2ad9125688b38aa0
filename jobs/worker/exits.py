"""All-exit passes: outputs of every exit for each image, without a clock."""

from __future__ import annotations

from typing import Any

import numpy as np

import gfnet
import storage
from jobs.worker.agreement import compare_exits
from jobs.worker.predictions import collect_predictions
from jobs.worker.rows import agreement_row, cell_columns
from jobs.worker.shard import Work


def exit_rows(work: Work) -> dict[str, Any]:
    """Run an all-exit pass over the shard: one row per image and exit in `exits`.

    An engine other than the reference adds one row in `reference_agreement`.
    """
    import torch

    task, runtime, reference = work.task, work.runtime, work.reference
    pipeline, shard = work.pipeline, work.shard
    places: list[int] = []
    logits: list[torch.Tensor] = []
    scores: list[torch.Tensor] = []
    features: list[torch.Tensor] = []
    expected: list[gfnet.ExitOutputs] = []

    def answer(batch: range) -> None:
        with work.startup.answering():
            tensor, kept = pipeline.bulk(shard.encoded, batch)
            if tensor is None:
                return
            outputs = runtime.forward_exits(tensor)
        by_reference = None if runtime is reference else reference.forward_exits(tensor)
        # Append all of a batch or nothing: a batch that runs out of memory is run again.
        answers = outputs.logits.float().cpu(), outputs.gate_scores.float().cpu()
        judged = gfnet.gate_features(outputs.logits).cpu()
        logits.append(answers[0])
        scores.append(answers[1])
        features.append(judged)
        places.extend(kept)
        if by_reference is not None:
            expected.append(by_reference)

    with torch.inference_mode():
        work.batches.run(len(shard.encoded), answer)
    if not places:
        return {}
    blocks = work.all_exits
    images, answers = len(places), len(places) * len(blocks)
    labels = np.tile(shard.labels[places], len(blocks))
    all_logits, all_scores = torch.cat(logits, dim=1), torch.cat(scores, dim=1)
    max_prob, entropy, margin, _ = torch.cat(features, dim=1).reshape(answers, -1).numpy().T
    columns: dict[str, Any] = {
        "image_id": np.tile(shard.image_ids[places], len(blocks)),
        "label": labels,
        "exit_block": np.repeat(np.asarray(blocks, dtype=np.int32), images),
        # The last block has no gate: NULL there, since NaN means that a gate failed.
        "gate_score": [*all_scores.flatten().tolist(), *[None] * images],
        "max_prob": max_prob,
        "margin": margin,
        "entropy": entropy,
    }
    by_exit = all_logits.reshape(answers, -1).numpy()
    columns |= collect_predictions(by_exit, labels).columns() | cell_columns(task, pipeline.device)
    tables = {"exits": storage.build_table("exits", columns)}
    if runtime is reference:
        return tables
    agreement = compare_exits(
        all_logits.numpy(),
        all_scores.numpy(),
        torch.cat([outputs.logits for outputs in expected], dim=1).cpu().numpy(),
        torch.cat([outputs.gate_scores for outputs in expected], dim=1).cpu().numpy(),
    )
    return tables | agreement_row(task, agreement)
