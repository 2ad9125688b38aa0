"""Which modules are mutated, and the test files that must kill their mutants: each module's own."""

from __future__ import annotations

MODULES: dict[str, tuple[str, ...]] = {
    # Figures: what tests of hypotheses and promises compute.
    "jobs/comparison/holm.py": ("tests/jobs/comparison/test_holm.py",),
    "jobs/comparison/mcnemar.py": ("tests/jobs/comparison/test_mcnemar.py",),
    "jobs/comparison/log_ratio.py": ("tests/jobs/comparison/test_log_ratio.py",),
    "jobs/student.py": ("tests/jobs/test_student.py",),
    "jobs/choice/fixed_sequence.py": ("tests/jobs/choice/test_guarantee.py",),
    "jobs/choice/guarantee.py": ("tests/jobs/choice/test_guarantee.py",),
    "jobs/order.py": ("tests/jobs/test_plan.py",),
    "jobs/placement.py": ("tests/jobs/test_placement.py",),
}
