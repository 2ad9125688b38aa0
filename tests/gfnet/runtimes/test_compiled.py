"""What torch.compile needs; what it compiles: tests/integration/test_compiled_engine.py."""

from __future__ import annotations

import sysconfig
from pathlib import Path

import pytest
from support import engines

import gfnet
from gfnet.runtimes import availability


def test_a_missing_compiler_is_told_before_anything_compiles(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """With what to do, and as the error that skips a cell."""
    model = engines.with_exits(2)
    with monkeypatch.context() as patch:
        patch.setenv("CXX", "no-such-compiler")
        with pytest.raises(gfnet.UnavailableError, match="no-such-compiler is not found: install"):
            gfnet.runtime("compile", model)
    with monkeypatch.context() as patch:
        patch.setattr(sysconfig, "get_path", lambda _: str(tmp_path))
        with pytest.raises(gfnet.UnavailableError, match=r"has no Python\.h: install them"):
            gfnet.runtime("compile", model)
    monkeypatch.setattr(availability, "find_spec", lambda _: None)
    assert availability.unavailable("compile", "float32", "cpu") is None
    assert "triton" in (availability.unavailable("compile", "float16", "cuda") or "")
