"""Keeps pandas out of a process: pyarrow imports it if it can, for half a second and 42 MiB."""

from __future__ import annotations

import sys
from importlib.abc import MetaPathFinder
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from importlib.machinery import ModuleSpec


class HiddenPandas(MetaPathFinder):
    """Finds no pandas while it is the first of `sys.meta_path`, nor lets others find it."""

    def find_spec(self, fullname: str, *_: object) -> ModuleSpec | None:
        """Refuse pandas; leave all else to others."""
        if fullname == "pandas":
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
