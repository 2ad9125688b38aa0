"""The epochs: which is best, what stops them, and that an interruption changes nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch
from torch import Tensor

from gfnet import GFNet, ModelConfig
from gfnet.training.data import Batch, Samples
from gfnet.training.loop import EpochScore, Stream, fresh
from gfnet.training.settings import EpochSchedule


class Scripted:
    """A learner that counts its steps, and whose epochs turn out as they are told to."""

    learning_rate = 0.5

    def __init__(self, model: GFNet, verdicts: list[EpochScore], losses: list[float]) -> None:
        self.model = model
        self._verdicts, self._losses = iter(verdicts), iter(losses)
        self._epoch = 0

    def begin(self, epoch: int) -> str:
        """Note the epoch."""
        self._epoch = epoch
        return "model"

    def step(self, batch: Batch) -> float:
        """The next loss; 1 when the script is over."""
        assert batch.images.dtype == torch.float32
        return next(self._losses, 1.0)

    def validate(self, validation: Samples) -> EpochScore:
        """The next verdict."""
        assert len(validation.labels) == 20
        return next(self._verdicts)

    def weights(self) -> Mapping[str, Tensor]:
        """The number of the epoch."""
        return {"epoch": torch.tensor(self._epoch)}

    def state_dict(self) -> dict[str, Any]:
        """Nothing but the epoch."""
        return {"epoch": self._epoch}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take it up."""
        self._epoch = state["epoch"]


def _verdict(accuracy: float, loss: float = 0.0) -> EpochScore:
    return EpochScore(accuracy, loss, None, (accuracy, -loss))


Scripting = Callable[..., Scripted]


@pytest.fixture
def scripted(tiny: Callable[[str], ModelConfig]) -> Scripting:
    """A scripted learner of given verdicts and losses."""

    def make(verdicts: list[EpochScore], losses: list[float] | None = None) -> Scripted:
        return Scripted(fresh(tiny("gfnet"), 0), verdicts, losses or [])

    return make


def test_the_best_epoch_comes_out(scripted: Scripting, run: Callable[..., Any]) -> None:
    """Of 50, 70, 70 with less loss, 60, 70 with more and 10 percent: the third."""
    verdicts = [_verdict(50), _verdict(70, 0.5), _verdict(70, 0.4), _verdict(60)]
    course = run(scripted([*verdicts, _verdict(70, 0.5), _verdict(10)]))
    assert course.learned.weights == {"epoch": torch.tensor(3)}
    assert (course.learned.outcome.best_epoch, course.learned.outcome.validation_accuracy) == (
        3,
        70,
    )
    assert [r.validation.is_best for r in course.reports] == [True, True, True, *[False] * 3]


def test_an_epoch_without_merit_is_not_chosen(scripted: Scripting, run: Callable[..., Any]) -> None:
    """However good: of the warm-up of exits, say."""
    warmup = EpochScore(99.0, 0.0, 2.0, None)
    course = run(scripted([warmup, _verdict(50), *[warmup] * 4]))
    assert course.learned.outcome.best_epoch == 2


def test_every_epoch_is_reported_and_leaves_a_state(
    scripted: Scripting, run: Callable[..., Any]
) -> None:
    """Six reports, counted from 1, the last with nothing left; 60 images are 4 steps of 16."""
    course = run(scripted([_verdict(50)] * 6, [1.0, 2.0, 3.0, 4.0]))
    assert [report.epoch for report in course.reports] == [1, 2, 3, 4, 5, 6]
    assert course.reports[0].loss == pytest.approx((16 * (1 + 2 + 3) + 12 * 4) / 60)
    assert course.reports[-1].seconds_left == 0
    assert [state["epoch"] for state in course.states] == [1, 2, 3, 4, 5, 6]


def test_a_loss_that_is_lost_ends_with_the_best_epoch_before(
    scripted: Scripting, run: Callable[..., Any]
) -> None:
    """NaN in the second step of the third epoch: the first, which was better, comes out."""
    losses = [*[1.0] * 9, float("nan")]
    course = run(scripted([_verdict(50), _verdict(40)], losses))
    assert course.learned.weights == {"epoch": torch.tensor(1)}
    assert "the loss became nan in epoch 3 of 6" in course.learned.stopped
    assert len(course.reports) == 2


@pytest.mark.parametrize("lost", [float("nan"), float("inf")])
def test_weights_that_are_lost_in_the_last_step_end_with_the_epoch_before(
    scripted: Scripting, run: Callable[..., Any], lost: float
) -> None:
    """No training loss shows them: the validation's does, with an accuracy of the first class."""
    course = run(scripted([_verdict(50), _verdict(90, lost)]))
    assert course.learned.weights == {"epoch": torch.tensor(1)}
    assert f"the validation loss became {lost} in epoch 2 of 6" in course.learned.stopped
    assert [report.epoch for report in course.reports] == [1]
    assert len(course.states) == 1


def test_weights_that_no_loss_shows_are_not_chosen(
    scripted: Scripting, run: Callable[..., Any]
) -> None:
    """Those of a gate, which then stays shut: held-out images are answered at the last block."""
    learner = scripted([_verdict(50), _verdict(90)])
    weights = iter([1.0, 1.0, float("nan")])  # of the first epoch: looked at, and kept
    learner.weights = lambda: {"gate": torch.tensor([0.5, next(weights)])}
    course = run(learner)
    assert course.learned.weights["gate"].tolist() == [0.5, 1.0]
    assert "weights became NaN or infinite in epoch 2 of 6" in course.learned.stopped


def test_a_loss_that_is_lost_at_once_leaves_nothing(
    scripted: Scripting, run: Callable[..., Any]
) -> None:
    """No epoch was finished: there is no outcome."""
    course = run(scripted([], [float("inf")]))
    assert (course.learned.outcome, course.learned.weights, course.reports) == (None, {}, [])


def test_what_was_saved_is_where_it_goes_on(scripted: Scripting, run: Callable[..., Any]) -> None:
    """After the second epoch four are left, and the best of before still counts."""
    before = run(scripted([_verdict(90), *[_verdict(50)] * 5]))
    course = run(scripted([_verdict(60)] * 4), saved=before.states[1])
    assert [report.epoch for report in course.reports] == [3, 4, 5, 6]
    assert course.learned.outcome.best_epoch == 1
    assert course.learned.weights == {"epoch": torch.tensor(1)}


def test_a_finished_training_that_is_resumed_only_says_what_it_learned(
    scripted: Scripting, run: Callable[..., Any]
) -> None:
    """Killed between the last state and the checkpoint."""
    before = run(scripted([_verdict(50)] * 6))
    course = run(scripted([]), saved=before.states[-1])
    assert course.reports == []
    assert course.learned.outcome == before.learned.outcome


def test_training_leaves_torchs_generator_alone() -> None:
    """What is drawn after a stream's block is what would have been drawn without it."""
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    with Stream(1, 1).drawn():
        torch.rand(5)
    assert torch.equal(torch.rand(3), expected)


def test_a_stream_goes_on_where_it_was_left() -> None:
    """Two draws with others between them are two halves of one draw."""
    with Stream(0, 1).drawn():
        expected = torch.rand(32)
    stream = Stream(0, 1)
    with stream.drawn():
        first = torch.rand(16)
    torch.rand(100)
    with stream.drawn():
        second = torch.rand(16)
    assert torch.equal(torch.cat([first, second]), expected)


def test_each_epoch_draws_its_own_numbers(schedule: EpochSchedule) -> None:
    """Two epochs of a seed differ, as do two seeds."""
    drawn = []
    for seed, epoch in ((schedule.seed, 1), (schedule.seed, 2), (schedule.seed + 1, 1)):
        with Stream(seed, epoch).drawn():
            drawn.append(torch.rand(4))
    assert not torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])
