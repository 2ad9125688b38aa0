"""The state on disk: replaced whole, read without running code, refused where it does not fit."""

import pickle
from pathlib import Path

import pytest
import torch

from gfnet.training.state import StateError, StateFile, check_same

CONTENT = {"identity": {"seed": 1, "flips": ["x"]}, "state": {"epoch": 2, "w": torch.arange(3)}}


@pytest.fixture
def state(tmp_path: Path) -> StateFile:
    """Beside a checkpoint that is not there yet."""
    return StateFile(tmp_path / "model.safetensors")


def test_what_is_saved_is_loaded(state: StateFile) -> None:
    """Tensors and plain values; and nothing else is left in the folder."""
    state.save({"identity": {}, "state": {}})
    state.save(CONTENT)
    loaded = state.load()
    assert loaded is not None
    assert loaded["identity"] == CONTENT["identity"]
    assert torch.equal(loaded["state"]["w"], torch.arange(3))
    assert [path.name for path in state.path.parent.iterdir()] == ["model.safetensors.training"]


def test_nothing_saved_is_none(state: StateFile) -> None:
    """A training that was never interrupted; removing what is not there is fine."""
    assert state.load() is None
    state.remove()
    assert not state.exists()


def test_a_write_that_fails_keeps_what_was_saved(
    state: StateFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that is full at the worst moment."""
    state.save(CONTENT)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        state.save({"identity": {}, "state": {}})
    loaded = state.load()
    assert loaded is not None
    assert loaded["identity"] == CONTENT["identity"]
    assert len(list(state.path.parent.iterdir())) == 1


class _Evil:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return print, ("code ran",)


@pytest.mark.parametrize("content", [b"", b"junk", pickle.dumps(_Evil())])
def test_a_file_that_is_no_state_is_refused(
    state: StateFile, content: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    """Torn or foreign; no code of it runs, and the message says how to start anew."""
    state.path.write_bytes(content)
    with pytest.raises(StateError, match="remove it to start anew"):
        state.load()
    assert capsys.readouterr().out == ""


def test_a_file_of_other_tensors_is_refused(state: StateFile) -> None:
    """It can be read, but holds no state."""
    torch.save({"w": torch.ones(1)}, state.path)
    with pytest.raises(StateError, match="holds no state"):
        state.load()


def test_a_state_of_another_training_is_refused() -> None:
    """Each setting that differs is named with both values."""
    check_same({"seed": 1}, {"seed": 1})
    with pytest.raises(StateError, match=r"lr was None, is 0\.1; seed was 1, is 2"):
        check_same({"seed": 1}, {"seed": 2, "lr": 0.1})
    with pytest.raises(StateError, match=r"augmentation\.shift was 0\.1, is 0\.2\. Restore"):
        check_same(
            {"augmentation": {"shift": 0.1, "scale": 1}},
            {"augmentation": {"shift": 0.2, "scale": 1}},
        )
