"""Runs a bundle in a folder with ONNX Runtime and numpy alone: each image's class and exit.

python run_bundle.py FOLDER [IMAGES.npy]    float32 images, (count, 3, side, side), normalised
"""

import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime as ort


def load(folder: Path) -> tuple[dict, list[ort.InferenceSession]]:
    """Read the manifest, and start a session per stage."""
    manifest = json.loads((folder / "manifest.json").read_text())
    cpu = ["CPUExecutionProvider"]
    files = [str(folder / stage["file"]) for stage in manifest["stages"]]
    return manifest, [ort.InferenceSession(file, providers=cpu) for file in files]


def route(
    manifest: dict, sessions: list, image: np.ndarray, thresholds: list[float]
) -> tuple[np.ndarray, int]:
    """Run the stages on one image until a score reaches its threshold: logits and exit block."""
    state = [image[None]]
    limits = [*thresholds, -np.inf]
    for stage, session, limit in zip(manifest["stages"], sessions, limits, strict=True):
        names = [tensor["name"] for tensor in stage["inputs"]]
        outputs = [*stage["state"], stage["logits"], *filter(None, [stage.get("score")])]
        found = session.run(
            [tensor["name"] for tensor in outputs], dict(zip(names, state, strict=True))
        )
        count = len(stage["state"])
        state, logits = found[:count], found[count][0]
        if stage.get("score"):
            score = found[-1][0]
        else:  # the exit rule max_prob
            powers = np.exp(logits - logits.max())
            score = powers.max() / powers.sum()
        if score >= np.float32(limit):
            break
    return logits, stage["exit_block"]


def main(folder: str, images: str = "") -> None:
    """Route all images by the default thresholds; without a file, some of noise."""
    manifest, sessions = load(Path(folder))
    side = manifest["preprocessing"]["crop"]
    noise = np.random.default_rng(0).standard_normal((8, 3, side, side), np.float32)
    given = manifest.get("thresholds") or [0.5] * (len(sessions) - 1)
    thresholds = [float(limit) for limit in given]
    for image in np.load(images) if images else noise:
        logits, block = route(manifest, sessions, image, thresholds)
        print(f"class {logits.argmax()} after block {block}")


if __name__ == "__main__":
    main(*sys.argv[1:])
