"""Running out of memory: what counts as it, and untimed batches that grow smaller then."""

from __future__ import annotations

from collections.abc import Callable

from jobs.common.errors import JobsError
from jobs.machine.heartbeat import count_batch

# Of torch for GPUs, torch for the processor, ONNX Runtime, OpenVINO, the C++ library, and oneDNN,
# which says no more than that where it lacks memory.
_WORDS = (
    "out of memory",
    "not enough memory",
    "can't allocate memory",
    "failed to allocate memory",
    "bad_alloc",
    "could not create a primitive",
    "could not create a memory object",
)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error means that a smaller batch may do."""
    if isinstance(error, MemoryError):
        return True
    text = str(error).lower()
    return isinstance(error, RuntimeError) and any(word in text for word in _WORDS)


class MemoryLackError(JobsError):
    """A machine has too little memory for a task."""


class Batches:
    """How many images go through an untimed pass together: fewer, where memory does not last.

    Args:
        size: images a batch, as asked for.
        free: gives back what an engine keeps of memory that nobody uses.
    """

    def __init__(self, size: int, free: Callable[[], None]) -> None:
        self.size = self._asked = size
        self._free = free

    @property
    def note(self) -> str:
        """What was not as asked; empty where all was."""
        if self.size == self._asked:
            return ""
        return f"out of memory at batch size {self._asked}: went on with {self.size}"

    def run(self, images: int, step: Callable[[range], None]) -> None:
        """Do a step for all images, in batches, halving them where memory runs out.

        Raises: RuntimeError, MemoryError: there is too little for one image.
        """
        start = 0
        while start < images:
            places = range(start, min(start + self.size, images))
            try:
                step(places)
            except (RuntimeError, MemoryError) as err:
                if self.size == 1 or not is_out_of_memory(err):
                    raise
                self.size = len(places) // 2 or 1
            else:
                start = places.stop
                count_batch()
                continue
            self._free()  # not inside the handler, whose traceback holds on to tensors


def first_line(error: BaseException) -> str:
    """What an error says first; its kind where it says nothing."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]
