"""The latency table of a run on a GPU: its own clock stands in it, where there is one."""

from __future__ import annotations

from typing import Any

from jobs.report.terminal import summary

ROW: dict[str, Any] = {
    "cell_id": "c",
    "node": "n",
    "model": "dynn",
    "dataset": "digits",
    "device": "rtx",
    "runtime": "torch",
    "precision": "float32",
    "threads": 1,
    "batch_size": 1,
    "threshold": 0.5,
    "thresholds": [0.5],
    "forward_ms": 4.0,
    "elapsed_ms": 5.0,
    "p50_ms": 4.0,
    "p90_ms": None,
    "p99_ms": None,
    "fps": 200.0,
    "is_valid": True,
    "device_ms": None,
    "host_share_pct": None,
}


def table(*rows: dict[str, Any]) -> str:
    """As `gfjobs summary` shows it, in a pipe."""
    return summary._latency_table([ROW | row for row in rows], {}, is_all=True)


def test_the_devices_clock_is_shown_where_there_is_one() -> None:
    """And the share outside it; of a row without one, dashes."""
    shown = table({"device_ms": 3.0, "host_share_pct": 25.0}, {"model": "flat"})
    title, names, _, dynn, flat, *_ = filter(str.strip, shown.splitlines())
    assert title.endswith("device: by its own clock; host %: of the mean, outside that")
    assert names.split()[-3:] == ["device", "host", "%"]
    assert dynn.split()[-2:] == ["3.000", "25.0"]
    assert flat.split()[-2:] == ["–", "–"]


def test_an_invalid_row_has_no_share() -> None:
    """Nothing is computed from its times."""
    shown = table({"device_ms": 3.0, "host_share_pct": 25.0, "is_valid": False})
    assert "25.0" not in shown


def test_without_such_a_clock_nothing_is_said_of_it() -> None:
    """As on every CPU."""
    assert "device" not in table({})
    assert "host" not in table({})
