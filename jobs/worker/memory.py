"""Out-of-memory errors: how to recognise them, and untimed batches that shrink after one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from jobs.common.errors import JobsError
from jobs.machine.heartbeat import count_batch

# Messages of torch on GPUs, torch on CPUs, ONNX Runtime, OpenVINO, the C++ library, and oneDNN,
# which says no more than this when it runs out of memory. Of cuBLAS, cuDNN and cuFFT, whose own
# workspaces torch does not account for. And of torch where NVML does not answer, as on a Jetson or
# a MIG slice: it asks NVML for the free memory that it wants to name (pytorch#112377).
_WORDS = (
    "out of memory",
    "not enough memory",
    "can't allocate memory",
    "failed to allocate memory",
    "bad_alloc",
    "could not create a primitive",
    "could not create a memory object",
    "cublas_status_alloc_failed",
    "cudnn_status_alloc_failed",
    "cufft_alloc_failed",
    "nvml_success == r internal assert failed",
)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error means that a smaller batch may succeed."""
    if isinstance(error, MemoryError):
        return True
    text = str(error).lower()
    return isinstance(error, RuntimeError) and any(word in text for word in _WORDS)


class MemoryLackError(JobsError):
    """A machine has too little memory for a task."""


@contextmanager
def explain_memory_lack(when: Callable[[], str], advice: str) -> Iterator[None]:
    """Turn running out of memory within into an error that says when it happened and what to do.

    Args:
        when: such as `at batch size 4`; called if it happens.
        advice: what to do.

    Raises: MemoryLackError: there was too little memory.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as err:
        if not is_out_of_memory(err):
            raise
        raise MemoryLackError(f"out of memory {when()} ({first_line(err)}); {advice}") from err


class Batches:
    """The batch size of an untimed pass, which is halved when memory runs out.

    Args:
        size: the requested number of images per batch.
        free: releases unused memory that an engine holds.
    """

    def __init__(self, size: int, free: Callable[[], None]) -> None:
        self.size = self._asked = size
        self._free = free

    @property
    def note(self) -> str:
        """Says that the batch size was reduced; empty if it was not."""
        if self.size == self._asked:
            return ""
        return f"out of memory at batch size {self._asked}: continued with {self.size}"

    def run(self, images: int, step: Callable[[range], None]) -> None:
        """Run a step on all images in batches, halving the batch size if memory runs out.

        Raises: RuntimeError, MemoryError: there is too little memory for one image.
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
            self._free()  # not inside the handler: its traceback keeps tensors alive


def first_line(error: BaseException) -> str:
    """The first line of an error's message; its type if the message is empty."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]
