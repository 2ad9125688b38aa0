"""The benchmark of a worker's memory: that it sees what a process holds."""

from __future__ import annotations

import mmap
from collections.abc import Callable
from types import ModuleType

MIB = 2**20


def test_it_tells_shared_memory_from_its_own(script: Callable[[str], ModuleType]) -> None:
    """64 MiB of each, written to: each is seen where it belongs, and both in the whole."""
    module = script("worker_memory")
    before = module.resident()
    own = bytearray(b"1" * (64 * MIB))
    with_own = module.resident()
    shared = mmap.mmap(-1, 64 * MIB)  # without a file, and shared: memory as the object store's
    shared.write(own)
    both = module.resident()
    assert with_own.own_bytes - before.own_bytes > 60 * MIB
    assert with_own.shared_bytes == before.shared_bytes
    assert both.shared_bytes - with_own.shared_bytes > 60 * MIB
    assert both.all_bytes - before.all_bytes > 120 * MIB
    assert own
    shared.close()
