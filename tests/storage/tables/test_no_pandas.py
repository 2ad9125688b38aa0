"""Pandas stays out of a process that asks for it."""

from __future__ import annotations

import subprocess
import sys
import textwrap

CODE = """
    import sys
    import numpy as np
    import storage
    storage.keep_pandas_out()
    images = storage.open_images("digits").read(range(3))
    storage.image_digest(images)
    images.column("label").to_numpy()
    images.to_pylist()
    storage.unpack_tables(storage.pack_tables({"images": images}))
    print("pandas" in sys.modules)
    import pandas
    print(pandas.DataFrame({"a": [1]}).a[0])
"""


def test_pyarrow_does_without_pandas_and_others_need_not() -> None:
    """Digests, conversions and the wire format import none of it; who asks for it gets it."""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(CODE)], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["False", "1"]
