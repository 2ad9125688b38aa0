"""Imports ONNX Runtime without its telemetry.

Wheels of 1.32 write an identifier of the device into the user's cache as soon as they are imported,
and contain a sender of events to their maker: nothing to have in a timed process, or without being
asked. This variable, read during the import, forbids both; a user who sets it to 0 has them.
"""

from __future__ import annotations

import os
from typing import Any

_VARIABLE = "ORT_DISABLE_TELEMETRY"


def load_onnxruntime() -> Any:
    """Return the module.

    Raises: ImportError: it is not installed.
    """
    os.environ.setdefault(_VARIABLE, "1")
    import onnxruntime

    return onnxruntime
