"""Which modules are mutated, and the test files that must kill their mutants: each module's own."""

from __future__ import annotations

MODULES: dict[str, tuple[str, ...]] = {
    # Hypotheses and promises.
    "jobs/comparison/holm.py": ("tests/jobs/comparison/test_holm.py",),
    "jobs/comparison/mcnemar.py": ("tests/jobs/comparison/test_mcnemar.py",),
    "jobs/comparison/log_ratio.py": ("tests/jobs/comparison/test_log_ratio.py",),
    "jobs/student.py": ("tests/jobs/test_student.py",),
    "jobs/choice/betting.py": ("tests/jobs/choice/test_guarantee.py",),
    "jobs/choice/fixed_sequence.py": ("tests/jobs/choice/test_guarantee.py",),
    "jobs/choice/guarantee.py": ("tests/jobs/choice/test_guarantee.py",),
    "jobs/choice/promises.py": ("tests/jobs/choice/test_guarantee.py",),
    "jobs/regressions/detector.py": ("tests/jobs/regressions/test_detector.py",),
    "jobs/thresholds.py": ("tests/jobs/test_thresholds.py",),
    # Models and their images.
    "gfnet/gates.py": ("tests/gfnet/test_gates.py",),
    "gfnet/preprocess.py": ("tests/gfnet/test_preprocess.py",),
    "gfnet/routing.py": ("tests/gfnet/test_routing.py",),
    # Which task goes where and when, and what becomes of those that fail.
    "jobs/block_queue.py": ("tests/jobs/test_block_queue.py",),
    "jobs/ledger.py": ("tests/jobs/test_ledger.py",),
    "jobs/order.py": ("tests/jobs/test_order.py",),
    "jobs/placement.py": ("tests/jobs/test_placement.py",),
    "jobs/trust.py": ("tests/jobs/test_trust.py",),
    # Which rows count, and who may write them.
    "storage/commits.py": ("tests/storage/test_manifests.py",),
    "storage/merge.py": ("tests/storage/test_merge.py",),
    "storage/places/flock.py": ("tests/storage/test_flock.py",),
}
