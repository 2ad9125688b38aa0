"""What must be alike before times are compared."""

from __future__ import annotations

import pytest

from jobs.analysis.comparison.comparable import explain_no_times

ROW = {
    "forward_ms": 2.0,
    "is_valid": True,
    "note": None,
    "dataset_sha256": "d",
    "images": 20,
    "node": "nano",
    "accelerator": "Orin",
    "power_mode": "MAXN_SUPER (2)",
    "governor": "schedutil",
    "protocol": 3,
    "warmup_images": 4,
    "are_clocks_locked": True,
    "max_clock_mhz": 1020.0,
}


@pytest.mark.parametrize(
    ("mode", "why"),
    [
        ("MAXN_SUPER (2)", None),
        ("2", None),  # as older rows have it
        ("0", "power mode: MAXN_SUPER (2), then 0"),
        ("15W (2)", "power mode: MAXN_SUPER (2), then 15W (2)"),
        (None, "power mode: MAXN_SUPER (2), then unknown"),
    ],
)
def test_power_modes_are_alike_by_name_and_number(mode: str | None, why: str | None) -> None:
    """A number alone is no other machine; a number that another mode has now is one."""
    assert explain_no_times(ROW, ROW | {"power_mode": mode}) == why
