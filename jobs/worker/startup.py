"""Times how a worker gets from a checkpoint's bytes to its first answer."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Startup:
    """The start of one task, once the worker has the checkpoint's bytes.

    A figure is None if the worker did not need that step: a model and its engines are kept from
    one task to the next.

    Args:
        clock: seconds on a monotonic clock; a fake one in tests.

    Attributes:
        load_s: seconds to turn the bytes into a model on its device.
        build_s: seconds to put the model on its engine; eager float32 needs none.
        first_answer_s: seconds of both and of the first batch, whose images are decoded first.
    """

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self.load_s: float | None = None
        self.build_s: float | None = None
        self.first_answer_s: float | None = None

    @contextmanager
    def loading(self) -> Iterator[None]:
        """Time what loads the model."""
        began_s = self._clock()
        yield
        self.load_s = self._clock() - began_s

    @contextmanager
    def building(self) -> Iterator[None]:
        """Time what builds the engine."""
        began_s = self._clock()
        yield
        self.build_s = self._clock() - began_s

    @contextmanager
    def answering(self) -> Iterator[None]:
        """Time what answers a batch; only the first after a load or a build counts."""
        began_s = self._clock()
        yield
        if self.first_answer_s is None and (self.load_s, self.build_s) != (None, None):
            before_s = (self.load_s or 0.0) + (self.build_s or 0.0)
            self.first_answer_s = before_s + self._clock() - began_s
