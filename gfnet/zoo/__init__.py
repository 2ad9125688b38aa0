"""The bundled checkpoints, by name."""

from __future__ import annotations

from pathlib import Path


def bundled() -> dict[str, Path]:
    """Name and path of each checkpoint that ships with the package."""
    folder = Path(__file__).parent
    return {path.stem: path for path in sorted(folder.glob("*.safetensors"))}
