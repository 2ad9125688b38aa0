"""What early exits and their gates are worth: hand-worked runs, and loops as oracles."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

import storage

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import numpy.typing as npt

    from tests.storage.conftest import Builder

    Floats = npt.NDArray[np.float32]
    Bools = npt.NDArray[np.bool_]

NAN = float("nan")
BLOCKS = (1, 2, 3)  # of a model of four blocks; the last has no gate
EARLY: dict[str, Any] = {"model": "early", "exit_blocks": BLOCKS[:-1]}
QUESTIONS = (
    "oracle_exits('latest')",
    "overthinking('latest')",
    "wasted_blocks('latest', 0.5)",
    "gate_regret('latest', 0.5)",
    "gate_auroc('latest')",
    "calibration_bins('latest')",
    "exit_calibration('latest')",
    "agreement('latest', 0.5)",
)
HEAD = ["run_id", "cell_id", "model", "dataset", "device", "node", "runtime", "precision"]
HEAD += ["threads", "batch_size"]

# One image a column: right at block 1, 2 and 3; then the gates of 1 and 2.
#                        A     B     C     D     E     F
CORRECT = np.array([[True, True, False, False, False, True],
                    [True, True, True, False, False, False],
                    [True, False, True, True, False, False]])  # fmt: skip
GATES = np.array([[0.9, 0.1, 0.9, 0.1, 0.1, NAN],
                  [0.9, 0.9, 0.9, 0.1, 0.9, 0.1]], dtype=np.float32)  # fmt: skip
# At 0.5 they leave at:   1    2    1    3    2    3


def all_exits(
    build: Builder, gates: Floats, correct: Bools, *, cell: dict[str, Any] = EARLY, **columns: Any
) -> str:
    """Add a cell with one row an image and exit; gates and columns (E - 1, N), correct (E, N)."""
    exits, images = correct.shape
    row = build.cell("exits", **cell)
    build.commit(
        row,
        exits={
            "image_id": np.tile(np.arange(images), exits),
            "exit_block": np.repeat(BLOCKS[-exits:], images),
            "gate_score": [*gates.ravel().tolist(), *[None] * images],
            "is_correct": correct.ravel(),
            "prediction": correct.ravel().astype(np.int32),
            **{
                name: np.broadcast_to(values, correct.shape).ravel()
                for name, values in columns.items()
            },
        },
    )
    return row.cell_id


def ask(build: Builder, question: str) -> list[dict[str, Any]]:
    """Read a macro's rows, without what they start with."""
    rows = storage.query(build.root, f"FROM {question}")
    assert rows.column_names[: len(HEAD)] == HEAD
    return rows.drop_columns([name for name in HEAD if name != "cell_id"]).to_pylist()


def figures(build: Builder, question: str) -> list[dict[str, Any]]:
    """Read the rows of a run of one cell, without what they start with."""
    return [{key: row[key] for key in row if key != "cell_id"} for row in ask(build, question)]


def hand_worked(build: Builder) -> Builder:
    """Store the six images above."""
    all_exits(build, GATES, CORRECT)
    build.store()
    return build


def random_pass(seed: int) -> tuple[Floats, Bools, Floats]:
    """Make gates with ties and NaN, answers, and confidences with ties; 40 images, 3 exits."""
    rng = np.random.default_rng(seed)
    correct = rng.random((3, 40)) < np.array([[0.4], [0.6], [0.7]])
    gates = (rng.integers(0, 6, (2, 40)) / 5 + 0.1 * correct[:-1]).astype(np.float32)
    gates[rng.random((2, 40)) < 0.1] = NAN
    return gates, correct, (rng.integers(1, 21, (3, 40)) / 20).astype(np.float32)


def leaves_at(gates: Floats, threshold: float) -> list[int]:
    """Say at which exit (0, 1, 2) each image leaves, one comparison at a time."""
    found = []
    for image in range(gates.shape[1]):
        open_ = [exit_ for exit_ in (0, 1) if gates[exit_, image] >= np.float32(threshold)]
        found.append(min(open_, default=2))
    return found


def test_oracle_leaves_at_the_earliest_right_exit(build: Builder) -> None:
    """A, B, F at block 1, C at 2, D at 3, and E, never right, at the last."""
    (row,) = figures(hand_worked(build), "oracle_exits('latest')")
    assert row == {
        "images": 6,
        "oracle_acc1": pytest.approx(500 / 6),
        "oracle_mean_blocks": pytest.approx((2 + 2 + 3 + 4 + 4 + 2) / 6),
        "full_acc1": 50.0,
        "full_blocks": 4,
        "exit_counts": [0, 3, 1, 2],
    }


def test_overthinking_counts_what_depth_spoils_and_rescues(build: Builder) -> None:
    """Depth spoils B and F after block 1, B after 2; it rescues C and D, then D."""
    one, two = figures(hand_worked(build), "overthinking('latest')")
    assert one == {
        "exit_block": 1,
        "images": 6,
        "right_here": 3,
        "right_here_pct": 50.0,
        "right_early_wrong_late": 2,
        "right_early_wrong_late_pct": pytest.approx(200 / 6),
        "wrong_early_right_late": 2,
        "wrong_early_right_late_pct": pytest.approx(200 / 6),
    }
    assert list(two.values()) == pytest.approx([2, 6, 3, 50, 1, 100 / 6, 1, 100 / 6])


@pytest.mark.parametrize(
    ("call", "said"),
    [
        ("wasted_blocks('latest', [0.5, 0.6])", r"wasted_blocks\(run, t\): t is one threshold"),
        ("at_threshold([0.5])", r"\n\nat_threshold\(t, rule := NULL\): t is one threshold"),
        ("composed_latency('latest', 0.5)", r"composed_latency\(run, ts\): ts is a list"),
        ("at_thresholds(0.5)", r"\n\nat_thresholds\(ts, rule := NULL\): ts is a list"),
        ("at_threshold(0.5, rule := 'max')", r"give gate, max_prob(.|\n)*at_threshold\(t, rule :="),
    ],
)
def test_a_threshold_or_rule_in_the_wrong_form_is_explained(
    build: Builder, call: str, said: str
) -> None:
    """By the macro that takes one, and that which takes a list; and what may be given."""
    root = hand_worked(build).root
    with pytest.raises(storage.QueryError, match=said):
        storage.query(root, f"FROM {call}")


def test_wasted_blocks_are_those_after_the_first_right_exit(build: Builder) -> None:
    """B ran one block too many and is right; E ran one and never would have been."""
    (row,) = figures(hand_worked(build), "wasted_blocks('latest', 0.5)")
    assert row == {
        "threshold": 0.5,
        "images": 6,
        "mean_blocks": 3.0,
        "wasted_blocks": pytest.approx(2 / 6),
        "wasted_pct": pytest.approx(100 * 2 / 18),
        "after_right_blocks": pytest.approx(1 / 6),
        "never_right_blocks": pytest.approx(1 / 6),
    }


def test_gate_regret_says_where_images_left_too_early_or_too_late(build: Builder) -> None:
    """C left block 1 too early; B and F stayed there though right, and F came out wrong."""
    one, two, last = figures(hand_worked(build), "gate_regret('latest', 0.5)")
    assert one == {
        "threshold": 0.5,
        "exit_block": 1,
        "images": 6,
        "reached": 6,
        "left_here": 2,
        "left_wrong_later_right": 1,
        "left_wrong_earlier_right": 0,
        "stayed_right": 2,
        "stayed_right_blocks": 3,
        "regret_points": pytest.approx(100 / 6),
    }
    assert list(two.values()) == [0.5, 2, 6, 4, 2, 0, 0, 0, 0, 0.0]
    assert list(last.values()) == pytest.approx([0.5, 3, 6, 2, 2, 0, 1, 0, 0, 100 / 6])


def test_exit_that_nobody_reaches_keeps_its_row(build: Builder) -> None:
    """At -inf all leave at the first exit, but F, whose gate is NaN and never lets go."""
    rows = figures(hand_worked(build), "gate_regret('latest', '-inf')")
    assert [(row["reached"], row["left_here"]) for row in rows] == [(6, 5), (1, 1), (0, 0)]
    rows = figures(build, "gate_regret('latest', 'inf')")
    assert [(row["reached"], row["left_here"]) for row in rows] == [(6, 0), (6, 0), (6, 6)]


@pytest.mark.parametrize("threshold", [0.0, 0.4, 0.7, 1.1])
def test_routes_of_random_gates_agree_with_a_loop(build: Builder, threshold: float) -> None:
    """Oracle, waste and regret of two cells, image by image, ties and NaN included."""
    expected: dict[str, dict[str, Any]] = {}
    for seed in (1, 2):
        gates, correct, _ = random_pass(seed)
        cell_id = all_exits(build, gates, correct, cell={**EARLY, "threads": seed})
        waste, oracle, acc1, blocks, regret = 0, [], 0, 0, [0, 0, 0]
        for image, left in enumerate(leaves_at(gates, threshold)):
            right = np.flatnonzero(correct[:, image]).tolist()
            oracle.append(min(right, default=2))
            blocks += left + 2
            acc1 += left in right
            if left in right:
                waste += left - right[0]
            elif not right:
                waste += left
            else:
                regret[left] += 1
        expected[cell_id] = {
            "counts": [0, *np.bincount(oracle, minlength=3).tolist()],
            "waste": [waste / 40, 100 * waste / blocks, blocks / 40],
            "regret": [100 * count / 40 for count in regret],
            "acc1": 100 * acc1 / 40,
        }
    build.store()
    oracle_rows = ask(build, "oracle_exits('run-1')")
    assert [row["cell_id"] for row in oracle_rows] == list(expected)
    for row in oracle_rows:
        assert row["exit_counts"] == expected[row["cell_id"]]["counts"]
    for row in ask(build, f"wasted_blocks('run-1', {threshold})"):
        found = [row["wasted_blocks"], row["wasted_pct"], row["mean_blocks"]]
        assert found == pytest.approx(expected[row["cell_id"]]["waste"])
    regrets = ask(build, f"gate_regret('run-1', {threshold})")
    for row in oracle_rows:
        points = [g["regret_points"] for g in regrets if g["cell_id"] == row["cell_id"]]
        wanted = expected[row["cell_id"]]
        assert points == pytest.approx(wanted["regret"])
        assert sum(points) == pytest.approx(row["oracle_acc1"] - wanted["acc1"])


def test_auroc_counts_pairs_and_halves_ties(build: Builder) -> None:
    """By hand: of six (right, wrong) pairs, four in order, one tied, one reversed."""
    gates = np.array([[0.5, 0.9, 0.1, 0.5, 0.7]], dtype=np.float32)
    correct = np.array([[True, True, False, False, False], [True] * 5])
    all_exits(build, gates, correct, cell={"model": "early", "exit_blocks": (2,)})
    build.store()
    (row,) = figures(build, "gate_auroc('latest')")
    assert (row["exit_block"], row["images"], row["right_here"]) == (2, 5, 2)
    assert row["gate_auroc"] == pytest.approx(4.5 / 6)
    # Nothing was recorded of the others.
    assert (row["max_prob_auroc"], row["entropy_auroc"], row["margin_auroc"]) == (None,) * 3


def test_auroc_agrees_with_scikit_learn(build: Builder) -> None:
    """Ties everywhere, NaN below all numbers, entropy turned around; each exit by itself."""
    gates, correct, max_prob = random_pass(3)
    entropy = np.where(correct, np.float32(0.3), np.float32(0.6)) + max_prob / 4
    margin = np.where(max_prob > 0.9, np.float32(NAN), max_prob - correct / 8)
    all_exits(build, gates, correct, max_prob=max_prob, entropy=entropy, margin=margin)
    build.store()
    rows = figures(build, "gate_auroc('latest')")
    assert [row["exit_block"] for row in rows] == [1, 2]
    predictors = {"gate": gates, "max_prob": max_prob, "entropy": -entropy, "margin": margin}
    for exit_, row in enumerate(rows):
        assert (row["images"], row["right_here"]) == (40, correct[exit_].sum())
        for name, scores in predictors.items():
            lowered = np.nan_to_num(scores[exit_].astype(np.float32), nan=-9)
            oracle = roc_auc_score(correct[exit_], lowered)
            assert row[f"{name}_auroc"] == pytest.approx(oracle, abs=1e-12), name


def test_auroc_is_unknown_with_one_class_only(build: Builder) -> None:
    """All right at block 1, all wrong at 2: no pairs, so no area, at any score."""
    correct = np.array([[True] * 3, [False] * 3, [True] * 3])
    all_exits(
        build, np.array([[0.1, 0.2, NAN]] * 2, dtype=np.float32), correct, max_prob=np.float32(0.5)
    )
    build.store()
    for row in figures(build, "gate_auroc('latest')"):
        assert row["images"] == 3
        assert (row["gate_auroc"], row["max_prob_auroc"]) == (None, None)


def test_calibration_agrees_with_a_loop_over_bins(build: Builder) -> None:
    """15 bins, open below and closed above; also at their edges, and just above 1."""
    gates, correct, max_prob = random_pass(4)
    max_prob[0, :15] = np.arange(1, 16) / 15
    max_prob[1, :2] = np.nextafter(np.float32(1), np.float32(2)), 1e-12
    all_exits(build, gates, correct, max_prob=max_prob)
    build.store()
    bins = figures(build, "calibration_bins('latest')")
    errors = figures(build, "exit_calibration('latest')")
    edges = np.linspace(0, 1, 16)
    for exit_, block in enumerate(BLOCKS):
        confidence, right = max_prob[exit_].astype(np.float64), correct[exit_]
        numbers = np.array([max(1, min(15, int((value > edges).sum()))) for value in confidence])
        expected, error = [], 0.0
        for number in np.unique(numbers):
            here = numbers == number
            mean, acc1 = 100 * confidence[here].mean(), 100 * right[here].mean()
            expected.append([block, number, here.sum(), mean, acc1])
            error += here.sum() / 40 * abs(mean - acc1)
        found = [list(row.values()) for row in bins if row["exit_block"] == block]
        assert np.array(found) == pytest.approx(np.array(expected))
        assert errors[exit_] == {
            "exit_block": block,
            "images": 40,
            "ece_points": pytest.approx(error),
            "confidence_pct": pytest.approx(100 * confidence.mean()),
            "acc1": pytest.approx(100 * right.mean()),
        }


def test_images_without_a_confidence_stay_out_of_the_error(build: Builder) -> None:
    """NaN logits: a bin of their own, counted in images and acc1 only."""
    correct = np.array([[True, False, True, False]])
    confidence = np.array([[0.75, 0.75, NAN, NAN]])
    all_exits(build, np.empty((0, 4), dtype=np.float32), correct, cell={}, max_prob=confidence)
    build.store()
    known, unknown = figures(build, "calibration_bins('latest')")
    assert (known["bin"], known["images"], known["confidence_pct"]) == (12, 2, 75.0)
    assert (unknown["bin"], unknown["images"], unknown["confidence_pct"]) == (None, 2, None)
    (row,) = figures(build, "exit_calibration('latest')")
    assert (row["images"], row["ece_points"], row["acc1"]) == (4, 25.0, 50.0)


def test_agreement_compares_image_by_image(build: Builder) -> None:
    """Two settings of the same accuracy; one prediction, two exits and two answers differ."""
    correct = np.array([[True, True, True, True], [True] * 4, [True, True, False, True]])
    gates = np.array([[0.9, 0.1, 0.1, 0.9], [0.9, 0.9, 0.1, 0.1]], dtype=np.float32)
    first = all_exits(build, gates, correct, prediction=np.array([[5] * 4, [6] * 4, [7] * 4]))
    gates[0] = [0.9, 0.9, 0.9, 0.9]
    other: dict[str, Any] = {"threads": 2, "precision": "bfloat16", "node": None}
    second = all_exits(
        build,
        gates,
        correct,
        cell=EARLY | other,
        prediction=np.array([[5] * 4, [6] * 4, [7, 7, 7, 8]]),
    )
    build.store()
    (row,) = ask(build, "agreement('latest', 0.5)")
    assert row == {
        "cell_id": first,
        "other_cell_id": second,
        "differs": "node node-a / ?; precision float32 / bfloat16; threads 1 / 2",
        "threshold": 0.5,
        "images": 4,
        "same_prediction_pct": 75.0,
        "same_exit_pct": 50.0,
        "same_answer_pct": 50.0,
    }


@pytest.mark.parametrize(
    ("difference", "pairs"),
    [
        ({"device": "cuda"}, 1),
        ({"node": "node-b"}, 1),
        ({"runtime": "onnx"}, 1),
        ({"batch_size": 256}, 1),
        ({"device": "cuda", "checkpoint_sha256": "c1"}, 0),
        ({"device": "cuda", "dataset_sha256": "d1"}, 0),
        ({"device": "cuda", "exit_blocks": (1,)}, 0),
        ({}, 0),
    ],
)
def test_agreement_pairs_one_checkpoint_in_two_settings(
    build: Builder, difference: dict[str, Any], pairs: int
) -> None:
    """Each pair once; other weights, images or exits are no pair, nor is the same setting."""
    all_exits(build, GATES, CORRECT)
    all_exits(build, GATES, CORRECT, cell=EARLY | difference)
    build.store()
    rows = ask(build, "agreement('latest', 0.5)")
    assert len(rows) == pairs
    for row in rows:
        assert row["differs"].startswith(next(iter(difference)))
        assert (row["images"], row["same_exit_pct"], row["same_answer_pct"]) == (6, 100, 100)


def test_static_model_has_nothing_to_diagnose(build: Builder) -> None:
    """One exit: the oracle is the model, nothing is wasted or regretted, no gate is judged."""
    gates = np.empty((0, 4), dtype=np.float32)
    all_exits(
        build, gates, np.array([[True, True, False, True]]), cell={}, max_prob=np.float32(0.5)
    )
    build.store()
    (row,) = figures(build, "oracle_exits('latest')")
    assert list(row.values()) == [4, 75.0, 4.0, 75.0, 4, [0, 0, 0, 4]]
    (row,) = figures(build, "wasted_blocks('latest', 0.5)")
    assert (row["mean_blocks"], row["wasted_blocks"], row["wasted_pct"]) == (4.0, 0.0, 0.0)
    (row,) = figures(build, "gate_regret('latest', 0.5)")
    assert (row["left_here"], row["stayed_right"], row["regret_points"]) == (4, 0, 0.0)
    assert figures(build, "overthinking('latest')") == []
    assert figures(build, "gate_auroc('latest')") == []
    (row,) = figures(build, "exit_calibration('latest')")
    assert (row["exit_block"], row["ece_points"]) == (3, 25.0)


def test_nothing_was_answered_yet(build: Builder, tmp_path: Path) -> None:
    """A run without rows, and a root without runs: no rows, the same columns."""
    build.cell("exits", **EARLY)
    build.cell("exits", **EARLY, threads=2)
    build.store()
    for question in QUESTIONS:
        assert ask(build, question) == [], question
        assert storage.query(tmp_path, f"FROM {question}").num_rows == 0, question


def test_one_run_is_answered_for(build_run: Callable[[str], Builder]) -> None:
    """`latest` is the newest; the same cells in another run neither appear nor mix."""
    for run_id in ("run-1", "run-2"):
        build = build_run(run_id)
        for threads in (1, 2):
            cell = EARLY | {"threads": threads}
            all_exits(build, GATES, CORRECT, cell=cell, max_prob=np.float32(0.5))
        build.store()
    with storage.connect(build.root) as connection:
        for question in QUESTIONS:
            latest, second, first = (
                connection.sql(f"FROM {question.replace('latest', run)}").to_arrow_table()
                for run in ("latest", "run-2", "run-1")
            )
            assert latest.equals(second), question
            assert latest.num_rows > 0, question
            assert set(latest["run_id"].to_pylist()) == {"run-2"}
            assert latest.drop_columns("run_id").equals(first.drop_columns("run_id")), question
