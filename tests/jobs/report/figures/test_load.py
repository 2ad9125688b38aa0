"""Charts of models under load: what is drawn, what is left out, and the table below."""

from __future__ import annotations

from typing import Any

from jobs.report.figures.load import responses_figure, throughput_figure


def served(**changes: Any) -> dict[str, Any]:
    """Figures of a serving cell."""
    row: dict[str, Any] = {
        "model": "dynn",
        "threshold": 0.5,
        "thresholds": [0.5],
        "arrivals_per_s": 20.0,
        "busy_pct": 41.6,
        "p50_ms": 4.0,
        "p90_ms": 9.0,
        "p99_ms": None,
        "simulated_p50_ms": 3.0,
        "simulated_p90_ms": 8.0,
        "simulated_p99_ms": 20.0,
        "p99_error_pct": None,
        "is_overloaded": False,
        "is_valid": True,
    }
    return row | changes


def drawn(figure: Any) -> list[tuple[object, ...]]:
    """The points of a chart."""
    return [tuple(point.values()) for point in figure.spec["data"]["values"]]


def test_the_highest_percentile_that_there_is() -> None:
    """Measured and simulated; of an overloaded or invalid cell nothing is measured."""
    over = served(arrivals_per_s=40.0, is_overloaded=True, p50_ms=None, p90_ms=None)
    over |= {"simulated_p90_ms": None}
    invalid = served(model="flat", threshold=None, thresholds=None, is_valid=False)
    figure = responses_figure([served(), over, invalid], ["dynn", "flat"], 3)
    assert figure
    assert figure.name == "response-by-rate-3"
    assert "p90" in figure.title
    assert drawn(figure) == [
        ("dynn at 0.5", 20.0, 9.0, "measured"),
        ("dynn at 0.5", 20.0, 8.0, "simulated"),
        ("flat", 20.0, 8.0, "simulated"),
    ]
    assert "dynn at 0.5 at 20 per second: 9 ms" in figure.alternative
    assert "Overloaded, without a point: 1." in figure.alternative
    assert [row[4] for row in figure.rows] == ["4.00", "overloaded", "INVALID"]
    figure = responses_figure([served(p99_ms=25.0, p99_error_pct=-20.0)], ["dynn", "flat"], 1)
    assert figure
    assert "p99" in figure.title
    assert figure.rows[0] == (
        "dynn",
        "0.5",
        "20",
        "42",
        "4.00",
        "9.00",
        "25.00",
        "20.00",
        "-20.0 %",
    )
    assert responses_figure([over], ["dynn", "flat"], 1) is None


def test_images_per_second_by_batch() -> None:
    """Valid cells alone; the best is named."""
    row: dict[str, Any] = {"model": "flat", "threshold": None, "thresholds": None}
    rows = [
        row
        | {"batch_size": size, "images_per_s": rate, "is_best": size == 8, "is_valid": valid}
        | {"forward_images_per_s": rate}
        for size, rate, valid in ((1, 100.0, True), (8, 250.0, True), (32, 9.0, False))
    ]
    figure = throughput_figure(rows, ["flat"], 1)
    assert figure
    assert drawn(figure) == [("flat", 1, 100.0), ("flat", 8, 250.0)]
    assert "flat: 250 at batch 8" in figure.alternative
    assert [each[-1] for each in figure.rows] == ["", "yes"]
    assert throughput_figure(rows[2:], ["flat"], 1) is None
