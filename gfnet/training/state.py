"""The state of an unfinished training on disk, so that it can be taken up where it stopped."""

from __future__ import annotations

import io
import pickle
from pathlib import Path
from typing import Any

import torch

from gfnet.atomic import replace_file

_SUFFIX = ".training"


class StateError(ValueError):
    """A state that cannot be used; the message names the file, and what to do."""


class StateFile:
    """One file, replaced whole after each epoch.

    Args:
        output: the checkpoint that the training will write; the state lies beside it.
        identity: all that determines the weights, as JSON values: a state of another training is
            refused.
    """

    def __init__(self, output: Path, identity: dict[str, Any]) -> None:
        self.path = output.with_name(output.name + _SUFFIX)
        self.identity = identity

    def load(self) -> dict[str, Any] | None:
        """What was saved last; None where nothing was.

        Raises:
            StateError: the file cannot be read, or is of another training.
        """
        content = self._content()
        if content is None:
            return None
        saved = content["identity"]
        if saved != self.identity:
            differing = [
                f"{key} was {saved.get(key)!r}, is {self.identity.get(key)!r}"
                for key in sorted({*saved, *self.identity})
                if saved.get(key) != self.identity.get(key)
            ]
            raise StateError(
                f"{self.path} is of a training with other settings: {'; '.join(differing)}."
                " Put them back to go on, or remove the file to start anew"
            )
        state: dict[str, Any] = content["state"]
        return state

    def precision(self) -> str | None:
        """The precision of the interrupted training, which `auto` might choose otherwise now.

        Raises:
            StateError: the file cannot be read.
        """
        content = self._content()
        return str(content["identity"].get("precision")) if content else None

    def _content(self) -> dict[str, Any] | None:
        try:
            content: dict[str, Any] = torch.load(self.path, map_location="cpu", weights_only=True)
        except FileNotFoundError:
            return None
        except (OSError, RuntimeError, EOFError, pickle.UnpicklingError) as err:
            raise StateError(
                f"{self.path} cannot be read ({type(err).__name__}); remove it to start anew"
            ) from err
        if not isinstance(content, dict) or set(content) != {"identity", "state"}:
            raise StateError(f"{self.path} holds no state; remove it to start anew")
        return content

    def save(self, state: dict[str, Any]) -> None:
        """Replace what was saved, in one step.

        Args:
            state: tensors and plain values, nested.

        Raises:
            OSError: it cannot be written; what was saved before still stands.
        """
        buffer = io.BytesIO()
        torch.save({"identity": self.identity, "state": state}, buffer)
        replace_file(self.path, buffer.getbuffer())

    def exists(self) -> bool:
        """Whether a training was interrupted here."""
        return self.path.exists()

    def remove(self) -> None:
        """Forget it: the training is finished."""
        self.path.unlink(missing_ok=True)
