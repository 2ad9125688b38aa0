"""Keeps pandas out of a process: pyarrow imports it if it can, for half a second and 42 MiB."""

from __future__ import annotations

import sys
from importlib.abc import MetaPathFinder
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from importlib.machinery import ModuleSpec
    from types import FrameType


_OURS = {"jobs", "pyarrow", "storage"}


class HiddenPandas(MetaPathFinder):
    """Finds no pandas for pyarrow, while it is the first of `sys.meta_path`.

    Pyarrow's compiled code has no frame of its own: what it imports is asked for by whoever called
    it. Others get pandas, such as torch, which ends an export if it cannot even look for it.
    """

    def find_spec(self, fullname: str, *_: object) -> ModuleSpec | None:
        """Refuse pandas to pyarrow; leave all else to others."""
        if fullname != "pandas":
            return None
        frame: FrameType | None = sys._getframe(1)  # noqa: SLF001 - the documented way to a caller
        while frame and frame.f_globals.get("__name__", "").partition(".")[0] == "importlib":
            frame = frame.f_back
        if frame and frame.f_globals.get("__name__", "").partition(".")[0] in _OURS:
            raise ModuleNotFoundError("pyarrow does without pandas here", name=fullname)
        return None


def keep_pandas_out() -> None:
    """Make pyarrow do without pandas from now on, in this process; anyone else may import it.

    It looks for pandas once, at the first conversion: which is made here, while there is none.
    """
    import numpy as np  # whoever only hides pandas needs neither
    import pyarrow as pa

    hidden = HiddenPandas()
    sys.meta_path.insert(0, hidden)
    try:
        pa.chunked_array([pa.array(np.zeros(1))]).to_numpy()
    finally:
        sys.meta_path.remove(hidden)
