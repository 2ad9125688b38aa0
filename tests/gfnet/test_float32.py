"""TF32: what torch and its containers allow by default is switched off by any engine."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import gfnet

PROGRAM = """
import torch, gfnet
from gfnet.float32 import tf32_uses
{allowed}
print(tf32_uses())
model = gfnet.create("gfnet", img_size=8, patch_size=2, embed_dim=8, depth=1, num_classes=4)
gfnet.runtime("torch", model, threads=1)
print(tf32_uses(), torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32)
"""


@pytest.mark.parametrize(
    ("allowed", "variable", "before"),
    [
        ("", "0", ["convolutions"]),  # torch's default
        ("", "1", ["products", "convolutions"]),  # that of NVIDIA's containers
        ("torch.backends.fp32_precision = 'tf32'", "0", None),
    ],
)
def test_an_engine_switches_tf32_off(allowed: str, variable: str, before: list[str] | None) -> None:
    """In a process of its own, since the switches are the process's."""
    import torch

    if before is None and not hasattr(torch.backends, "fp32_precision"):
        pytest.skip("this torch has no setting for all backends")
    if before is None:
        allowed += "; torch.backends.cuda.matmul.allow_tf32 = True"
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(allowed=allowed)],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ
        | {
            "PYTHONPATH": str(Path(gfnet.__file__).parents[1]),
            "TORCH_ALLOW_TF32_CUBLAS_OVERRIDE": variable,
        },
    )
    said, after = done.stdout.splitlines()
    assert said == str(before or ["products", "convolutions"])
    assert after == "[] False False"
