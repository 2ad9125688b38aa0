"""The state of an unfinished training on disk, from which it can be resumed."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from gfnet.atomic import replace_file

_SUFFIX = ".training"
_KEYS = {"identity", "state"}


class StateError(ValueError):
    """Raised for a state that cannot be used; the message says why, and what to do."""


class StateFile:
    """One file next to the checkpoint that a training will write, replaced whole after each epoch.

    It holds `identity`, all that determines the weights, and `state`, that of an EpochState.

    Args:
        output: the checkpoint.
    """

    def __init__(self, output: Path) -> None:
        self.path = output.with_name(output.name + _SUFFIX)

    def load(self) -> dict[str, Any] | None:
        """Return what was saved last; None if nothing was.

        Raises:
            StateError: the file cannot be read.
        """
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # torch warns of pickles that it then refuses
                content: dict[str, Any] = torch.load(
                    self.path, map_location="cpu", weights_only=True
                )
        except FileNotFoundError:
            return None
        except Exception as err:  # a broken zip or pickle can raise any exception
            raise StateError(
                f"{self.path} cannot be read ({type(err).__name__}); remove it to start anew"
            ) from err
        if not isinstance(content, dict) or set(content) != _KEYS:
            raise StateError(f"{self.path} holds no state; remove it to start anew")
        return content

    def save(self, content: dict[str, Any]) -> None:
        """Replace what was saved, in one step.

        Raises:
            OSError: it cannot be written; what was saved before is kept.
        """
        buffer = io.BytesIO()
        torch.save(content, buffer)
        replace_file(self.path, buffer.getbuffer())

    def exists(self) -> bool:
        """Whether a training was interrupted here."""
        return self.path.exists()

    def remove(self) -> None:
        """Remove the file: the training is finished."""
        self.path.unlink(missing_ok=True)


def check_same(saved: dict[str, Any], identity: dict[str, Any]) -> None:
    """Check that an interrupted training can be resumed.

    Raises:
        StateError: it had other settings or other data; the message names each difference.
    """
    if differing := list(differences(saved, identity)):
        raise StateError(
            f"the interrupted training had other settings: {'; '.join(differing)}. Restore"
            " them to resume, or remove its state to start anew"
        )


def differences(was: Mapping[str, Any], now: Mapping[str, Any], within: str = "") -> Iterator[str]:
    """Yield each setting that differs, with both values, also within mappings."""
    for key in sorted({*was, *now}):
        before, after = was.get(key), now.get(key)
        if isinstance(before, dict) and isinstance(after, dict):
            yield from differences(before, after, f"{within}{key}.")
        elif before != after:
            yield f"{within}{key} was {before!r}, is {after!r}"
