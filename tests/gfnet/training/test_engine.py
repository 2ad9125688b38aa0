"""Device and precision of a training."""

import pytest
import torch

from gfnet.training import engine
from gfnet.training.engine import Engine, choose_engine


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_precision_that_is_named_is_taken(precision: str) -> None:
    """Without measuring."""
    assert choose_engine("cpu", precision) == Engine(torch.device("cpu"), precision)


@pytest.mark.parametrize(("half_s", "chosen"), [(0.5, "bfloat16"), (0.9, "float32")])
def test_auto_takes_half_precision_where_it_saves_a_fifth(
    monkeypatch: pytest.MonkeyPatch, half_s: float, chosen: str
) -> None:
    """Of the time that float32 takes."""
    times = {torch.bfloat16: half_s, torch.float32: 1.0}
    monkeypatch.setattr(engine, "_product_s", lambda _, dtype: times[dtype])
    assert choose_engine("cpu", "auto").precision == chosen


def test_auto_measures() -> None:
    """Whatever this machine is quicker in, it is one of both."""
    assert choose_engine("cpu", "auto").precision in {"float32", "bfloat16"}


def test_an_unknown_precision_is_refused() -> None:
    """The message names those that are known."""
    with pytest.raises(ValueError, match="'int8'; allowed: auto, float32, bfloat16"):
        choose_engine("cpu", "int8")


@pytest.mark.parametrize(("precision", "dtype"), [("float32", "float32"), ("bfloat16", "bfloat16")])
def test_autocast_is_that_of_the_precision(precision: str, dtype: str) -> None:
    """A matrix product has the precision's type."""
    with Engine(torch.device("cpu"), precision).autocast():
        product = torch.ones(2, 2) @ torch.ones(2, 2)
    assert product.dtype == getattr(torch, dtype)
