"""The output of a training: one process trains it at a time, and what others wrote is kept."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import storage
from jobs.common.errors import UsageError
from jobs.training.compute import TrainingError

if TYPE_CHECKING:
    from jobs.training.recipe import Recipe

Version = tuple[int, int, int]
"""Device, inode and mtime of a file: another one was put there if they differ."""


@contextlib.contextmanager
def alone_at_output(recipe: Recipe) -> Iterator[None]:
    """Hold the lock of a recipe's output, which has its checkpoint and its state to resume from.

    Raises:
        UsageError: another process holds it.
        TrainingError: the lock cannot be made.
    """
    lock = recipe.output.with_name(f".{recipe.output.name}.lock")
    try:
        handle = storage.take_lock(lock)
    except storage.HeldError as err:
        raise UsageError(
            f"{recipe.name}: {recipe.output} is being trained by {err}; wait for it, or choose"
            " another output with -o"
        ) from err
    except OSError as err:
        raise TrainingError(f"{lock} cannot be locked: {err.strerror or err}") from err
    try:
        yield
    finally:
        lock.unlink(missing_ok=True)  # while it is held: whoever waits for it looks again
        os.close(handle)


def find_version(output: Path) -> Version | None:
    """Tell what is at the output now; None if nothing is."""
    try:
        found = output.stat()
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino, found.st_mtime_ns


def check_unchanged(recipe: Recipe, seen: Version | None, *, is_forced: bool) -> None:
    """Check before a checkpoint is written that it replaces nothing new, unless forced.

    Raises: UsageError: something did, such as an import, or a training on another machine.
    """
    if not is_forced and find_version(recipe.output) != seen:
        raise UsageError(
            f"{recipe.name}: something else wrote {recipe.output} during the training, so it is not"
            " replaced; move it away and add --resume, which runs only the last epoch again"
        )
