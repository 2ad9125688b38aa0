"""Which modules are mutated, and the test files that must kill their mutants: each module's own."""

from __future__ import annotations

from typing import NamedTuple


class Own(NamedTuple):
    """The tests that are a module's own.

    Attributes:
        tests: a file.
        has_fixtures: it needs those of conftest.py, which loads torch: four times the seconds.
    """

    tests: str
    has_fixtures: bool = True


def _alone(tests: str) -> Own:
    return Own(tests, has_fixtures=False)


MODULES = {
    # Hypotheses and promises.
    "jobs/statistics/holm.py": _alone("tests/jobs/statistics/test_holm.py"),
    "jobs/statistics/mcnemar.py": _alone("tests/jobs/statistics/test_mcnemar.py"),
    "jobs/statistics/log_ratio.py": _alone("tests/jobs/statistics/test_log_ratio.py"),
    "jobs/statistics/student_t.py": _alone("tests/jobs/statistics/test_student_t.py"),
    "jobs/statistics/sequential.py": _alone("tests/jobs/statistics/test_sequential.py"),
    "jobs/statistics/queueing.py": _alone("tests/jobs/statistics/test_queueing.py"),
    "jobs/analysis/thresholds/fixed_sequence.py": _alone(
        "tests/jobs/analysis/thresholds/test_guarantee.py"
    ),
    "jobs/analysis/thresholds/guarantee.py": _alone(
        "tests/jobs/analysis/thresholds/test_guarantee.py"
    ),
    "jobs/analysis/thresholds/risks.py": _alone("tests/jobs/analysis/thresholds/test_guarantee.py"),
    "jobs/analysis/regressions/detector.py": _alone(
        "tests/jobs/analysis/regressions/test_detector.py"
    ),
    "jobs/grid/threshold_axis.py": _alone("tests/jobs/grid/test_threshold_axis.py"),
    # Models under load.
    "jobs/plan/arrivals.py": _alone("tests/jobs/plan/test_arrivals.py"),
    "jobs/worker/serving.py": Own("tests/jobs/worker/test_serving.py"),
    "jobs/analysis/serving/simulation.py": _alone("tests/jobs/analysis/serving/test_simulation.py"),
    # Models and their images.
    "gfnet/gates.py": _alone("tests/gfnet/test_gates.py"),
    "gfnet/preprocess.py": _alone("tests/gfnet/test_preprocess.py"),
    "gfnet/routing.py": _alone("tests/gfnet/test_routing.py"),
    # Which task goes where and when, and what becomes of those that fail.
    "jobs/driver/block_queue.py": _alone("tests/jobs/driver/test_block_queue.py"),
    "jobs/driver/cell_states.py": Own("tests/jobs/driver/test_cell_states.py"),
    "jobs/plan/order.py": Own("tests/jobs/plan/test_order.py"),
    "jobs/driver/looks.py": Own("tests/jobs/driver/test_looks.py"),
    "jobs/driver/round_widths.py": Own("tests/jobs/driver/test_looks.py"),
    "jobs/driver/commit_pace.py": _alone("tests/jobs/driver/test_commit_pace.py"),
    "jobs/driver/placement.py": Own("tests/jobs/driver/test_placement.py"),
    "jobs/driver/fault_attribution.py": _alone("tests/jobs/driver/test_fault_attribution.py"),
    "jobs/driver/fault_policy.py": Own("tests/jobs/driver/test_fault_policy.py"),
    # Which rows count, and who may write them.
    "storage/runs/manifests.py": _alone("tests/storage/runs/test_manifests.py"),
    "storage/runs/merge.py": Own("tests/storage/runs/test_merge.py"),
    "storage/backends/file_lock.py": _alone("tests/storage/backends/test_file_lock.py"),
}
