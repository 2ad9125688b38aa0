"""Series of figures: changes by hand, what explains them, and the data of the history page."""

from __future__ import annotations

from typing import Any

import pytest

from jobs.report.site.series import METRICS, changes, explain_changes, group_series, history_data

STATE = {"checkpoint": "a" * 64, "torch": "2.5", "highest clock, MHz": 1510.0}
RUNS = ("mon", "tue", "wed", "thu")


def series(**changes: Any) -> dict[str, Any]:
    """Four nights of a model, of which the third is not valid."""
    setting = {
        "dataset": "digits",
        "dataset_sha256": "d0",
        "images": 4,
        "accuracy_images": 4,
        "device": "cpu",
        "node": "host",
        "runtime": "torch",
        "precision": "float32",
        "threads": 1,
        "batch_size": 1,
    }
    return {
        **setting,
        "model": "early",
        "threshold": 0.5,
        "thresholds": None,
        "run_id": list(RUNS),
        "acc1": [90.0, 91.0, 70.0, 89.5],
        "forward_ms": [2.0, 2.5, 9.0, 2.0],
        "energy_mj": [None, 10.0, 8.0, None],
        "mean_blocks": [3.0, 3.0, 3.0, 3.0],
        "is_valid": [True, True, False, True],
        "state": [STATE] * 4,
        "exit_counts": [0, 3, 0, 1],
        "position": 0,
        **changes,
    }


@pytest.mark.parametrize(
    ("metric", "expected"),
    [
        ("acc1", [None, 1.0, None, -1.5]),
        ("forward_ms", [None, 25.0, None, -20.0]),
        ("energy_mj", [None, None, None, None]),
    ],
)
def test_a_change_is_from_the_last_valid_figure(metric: str, expected: list[float | None]) -> None:
    """Accuracy in points, times in percent; none from, to or across what is missing or invalid."""
    found = list(changes(series(), metric))
    assert found == [None if each is None else pytest.approx(each) for each in expected]


def test_what_was_zero_has_no_relative_change() -> None:
    """Nor what was not there."""
    assert list(changes(series(forward_ms=[0.0, 1.0, None, 2.0]), "forward_ms")) == [
        *(None, None, None, 100.0)
    ]


def test_what_else_changed_is_named_with_both_values() -> None:
    """Digests shortened, numbers as they are, what is not known called so."""
    states = [
        STATE,
        STATE,
        STATE | {"torch": "2.6", "highest clock, MHz": 1377.6},
        STATE | {"torch": None, "checkpoint": "b" * 64},
    ]
    assert dict(explain_changes(series(state=states))) == {
        2: "torch 2.5 → 2.6; highest clock, MHz 1510 → 1377.6",
        3: f"checkpoint {'a' * 12} → {'b' * 12}; torch 2.6 → unknown; highest clock, MHz"
        " 1377.6 → 1510",
    }


def test_series_of_one_model_and_setting_are_one_group() -> None:
    """In the order of the grid; other images, engines or models are another."""
    later, first = series(threshold=0.9, position=7), series(threshold=0.5, position=2)
    more = series(accuracy_images=450)
    others = [series(runtime="onnx"), series(dataset_sha256="d1"), series(model="other"), more]
    groups = group_series([later, *others, first])
    assert [len(group.rows) for group in groups] == [2, 1, 1, 1, 1]
    assert list(groups[0].rows) == [first, later]
    assert len({group.name for group in groups}) == 5
    assert groups[4].setting.endswith(", 450 images, 4 timed")
    assert groups[0].setting == "digits on cpu of host: torch float32, 1 thread, 4 images"


def test_history_has_nights_once_and_verdicts_where_they_belong() -> None:
    """A verdict on other thresholds or devices marks nothing here."""
    longer = series(threshold=0.9, position=1)
    short = series(
        run_id=["tue", "thu"],
        **{name: [1.0, 2.0] for name in (*METRICS, "mean_blocks")},
        is_valid=[True, True],
        state=[STATE, STATE | {"torch": "2.6"}],
    )
    verdict = {
        **{name: short[name] for name in short if name not in METRICS},
        "metric": "latency",
        "verdict": "regression",
    }
    findings = {"thu": [verdict, verdict | {"device": "cuda"}, verdict | {"threshold": 0.1}]}
    (group,) = group_series([short, longer])
    data = history_data(group, RUNS.index, findings)
    assert data["nights"] == list(RUNS)
    first, second = data["lines"]
    assert (first["threshold"], second["threshold"]) == ("0.5", "0.9")
    assert first["night"] == [1, 3]
    assert first["verdicts"] == {1: {"forward_ms": "regression"}}
    assert second["verdicts"] == {}
    assert first["explained"] == {1: "torch 2.5 → 2.6"}
    assert first["changes"]["forward_ms"] == [None, 100.0]
    assert second["forward_ms"] == longer["forward_ms"]
