"""A small grid, end to end in this process: its ladder has milliseconds and millijoules.

Its certificate is counted, too: routes that differ from the replay of the all-exit pass.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import storage
from jobs.acceptance.bench import Bench
from jobs.acceptance.check_result import CheckResult
from jobs.machine.power.discovery import describe_power
from jobs.runs.submit import submit
from jobs.runs.target import Target

RUN = "acceptance"
MODELS = ("digits-gfnet", "digits-dynn")

# Batch sizes differ between the passes, so that rounding is seen: the certificate counts flips.
GRID = """\
name: acceptance
models: [{models}]
datasets: [{{name: digits, limit: {images}}}]
thresholds: [0.5]
devices: [{device}]
threads: [{threads}]
batch_sizes: {{latency: 1, accuracy: 64}}
measure: [accuracy, latency, energy]
latency: {{rounds: 2, warmup_images: 20, images: {images}}}
energy: {{idle_s: {window_s}, active_s: {window_s}, settle_s: 0.2}}
baseline: digits-gfnet
"""

LEAST_ACC1 = 90.0
"""Percent of the digits that a bundled checkpoint recognises at least: 98.67 and 99.56 of 450."""

FARTHEST_FLIP = 1e-4
"""Distance of a score from its threshold, up to which rounding may flip an exit in float32: kernels
of other batch sizes round differently."""

MOST_FLIPS = 0.01
"""Share of the routes that may flip: few scores are so near to a threshold."""


def check_grid(bench: Bench) -> Iterator[CheckResult]:
    """Submit the grid inline, then judge its ladder and its certificate."""
    grid = GRID.format(
        models=", ".join(MODELS),
        images=100 if bench.is_gpu else 20,
        device=bench.device.name,
        threads=bench.sizes.threads,
        window_s=1.0 if bench.is_gpu else 0.1,
    )
    with tempfile.TemporaryDirectory(prefix="gfjobs-acceptance-") as folder:
        path, root = Path(folder) / "grid.yaml", Path(folder) / "results"
        path.write_text(grid, encoding="utf-8")
        said: list[str] = []
        ended = submit(path, root, Target(is_inline=True), said.append, RUN)
        errors = [cell.error for cell in storage.read_cells(root, RUN) if cell.error]
        ladder = storage.named_query(root, "summary", run_ids=[RUN]).to_pylist()
        routes = storage.named_query(root, "certify", run_ids=[RUN], run_id=RUN).to_pylist()
    yield judge_run(errors, ladder, is_done=ended.is_done)
    yield judge_milliseconds(ladder)
    why_not = describe_power(bench.device).note
    yield judge_millijoules(ladder, why_not, is_gpu=bench.is_gpu)
    yield judge_flips(routes)


def judge_run(
    errors: Sequence[str], ladder: Sequence[Mapping[str, Any]], *, is_done: bool
) -> CheckResult:
    """Judge whether a run is done, and answers as its checkpoints should."""
    acc1 = {row["model"]: row["acc1"] for row in ladder}
    found = ", ".join(f"{name} {_shown(value)} % right" for name, value in acc1.items())
    said = f"; {errors[0].strip().splitlines()[-1][:200]}" if errors else ""
    return CheckResult.judged(
        "grid, end to end and inline",
        f"done, with at least {LEAST_ACC1:g} % of the digits right in both models",
        f"{'done' if is_done else 'not done'}: {found or 'no rows'}{said}",
        {f"{name}_acc1": value for name, value in acc1.items()},
        is_ok=is_done
        and set(acc1) == set(MODELS)
        and all(value is not None and value >= LEAST_ACC1 for value in acc1.values()),
    )


def judge_milliseconds(ladder: Sequence[Mapping[str, Any]]) -> CheckResult:
    """Judge the times of a ladder."""
    times = {row["model"]: row["forward_ms"] for row in ladder}
    return CheckResult.judged(
        "grid: milliseconds",
        "above 0 in every row",
        ", ".join(f"{name} {_shown(ms)} ms" for name, ms in times.items()) or "no rows",
        {f"{name}_ms": ms for name, ms in times.items()},
        is_ok=bool(times) and all(ms is not None and ms > 0 for ms in times.values()),
    )


def judge_millijoules(
    ladder: Sequence[Mapping[str, Any]], why_no_source: str, *, is_gpu: bool
) -> CheckResult:
    """Judge the energies of a ladder; without a source they are NULL, and say why.

    On a GPU that is a check which cannot run, and on a processor what is expected.

    Args:
        ladder: its rows.
        why_no_source: why no power is read; empty if it is.
        is_gpu: whether the device is a GPU.
    """
    name = "grid: millijoules"
    energies = {row["model"]: row["energy_gross_mj"] for row in ladder}
    figures = {f"{model}_gross_mj": mj for model, mj in energies.items()}
    figures |= {f"{row['model']}_mj": row["energy_mj"] for row in ladder}
    if why_no_source:
        is_null = bool(ladder) and all(value is None for value in figures.values())
        if is_null and is_gpu:
            return CheckResult.skipped(name, "above 0 in every row", why_no_source)
        return CheckResult.judged(
            name,
            "NULL: no power is read here, and none is made up",
            f"{'NULL' if is_null else energies}: {why_no_source}",
            figures,
            is_ok=is_null,
        )
    notes = "; ".join(row["note"] for row in ladder if row["energy_mj"] is None and row["note"])
    shown = ", ".join(
        f"{row['model']} {_shown(row['energy_mj'])} mJ above idle,"
        f" {_shown(row['energy_gross_mj'])} mJ in all"
        for row in ladder
    )
    return CheckResult.judged(
        name,
        "above 0 in every row",
        f"{shown or 'no rows'}{f' ({notes})' if notes else ''}",
        figures,
        is_ok=bool(ladder)
        and all(
            (row["energy_mj"] or 0) > 0 and (row["energy_gross_mj"] or 0) > 0 for row in ladder
        ),
    )


def judge_flips(routes: Sequence[Mapping[str, Any]]) -> CheckResult:
    """Judge the certificate of a run: its routes against the replay of the all-exit pass."""
    count = sum(row["routes"] for row in routes)
    flips = sum(row["flips"] for row in routes)
    exits = sum(row["exit_flips"] for row in routes)
    farthest = max((row["max_gate_distance"] or 0.0 for row in routes), default=0.0)
    return CheckResult.judged(
        "grid: certificate, batch 1 against 64",
        f"at most {MOST_FLIPS:.0%} of the routes, by scores within {FARTHEST_FLIP:.0e} of the"
        " threshold",
        f"{flips} of {count} routes differ, {exits} of them in the exit"
        + (f"; the farthest score is {farthest:.1e} from its threshold" if exits else ""),
        {"routes": count, "flips": flips, "exit_flips": exits, "farthest": farthest},
        is_ok=count > 0 and flips <= MOST_FLIPS * count and farthest <= FARTHEST_FLIP,
    )


def _shown(value: float | None) -> str:
    return "NULL" if value is None else f"{value:.4g}"
