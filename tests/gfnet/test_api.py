"""The package's names, and what importing them costs."""

from __future__ import annotations

import subprocess
import sys

import pytest

import gfnet


def test_every_public_name_can_be_loaded() -> None:
    """Names are loaded late; each must exist."""
    for name in gfnet.__all__:
        assert getattr(gfnet, name) is not None
    with pytest.raises(AttributeError, match="colour"):
        _ = gfnet.colour


def test_reading_a_header_loads_no_torch() -> None:
    """Planning on a machine that never loads a model stays fast."""
    code = (
        "import sys, gfnet;"
        "[gfnet.inspect_checkpoint(path) for path in gfnet.bundled().values()];"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
