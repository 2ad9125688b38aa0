"""What importing ONNX Runtime leaves behind, in processes of their own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("onnxruntime")

IMPORT = "from gfnet.runtimes.onnxruntime_module import load_onnxruntime as load; load()"


def test_nothing_is_written_or_told(tmp_path: Path) -> None:
    """No identifier of the device in the user's cache, as a plain import of 1.32 writes it."""
    environment = {
        name: text for name, text in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"
    } | {"XDG_CACHE_HOME": str(tmp_path / "cache"), "HOME": str(tmp_path)}
    subprocess.run([sys.executable, "-c", IMPORT], env=environment, check=True)
    assert list(tmp_path.iterdir()) == []


def test_the_users_choice_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever wants telemetry has it."""
    from gfnet.runtimes.onnxruntime_module import load_onnxruntime

    monkeypatch.setenv("ORT_DISABLE_TELEMETRY", "0")
    load_onnxruntime()
    assert os.environ["ORT_DISABLE_TELEMETRY"] == "0"
