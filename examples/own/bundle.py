"""Brings in a foreign model: a small torchvision ResNet with two exits, as a staged bundle.

Plain torch: trains on examples/own/images (see make_images.py), for less than a minute, then writes
one ONNX graph per exit and the manifest that docs/bundles.md describes.
"""

import hashlib
import json
import sys
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.flop_counter import FlopCounterMode
from torchvision.datasets import ImageFolder
from torchvision.models.resnet import BasicBlock, ResNet
from torchvision.transforms import v2

HERE = Path(__file__).parent
SIDE, MEAN, STD = 16, [0.5] * 3, [0.25] * 3


class ExitStage(nn.Module):
    """Layers up to an exit, and its head: what the next stage takes, and the logits."""

    def __init__(self, body: nn.Module, width: int, classes: int, *, is_last: bool) -> None:
        super().__init__()
        self.body, self.head, self.is_last = body, nn.Linear(width, classes), is_last

    def forward(self, state: Tensor) -> tuple[Tensor, ...]:
        """Run the stage on a batch."""
        state = self.body(state)
        logits = self.head(state.mean(dim=(2, 3)))
        return (logits,) if self.is_last else (state, logits)


def train(stages: list[ExitStage], images: Tensor, labels: Tensor, epochs: int) -> None:
    """Train all exits together."""
    optimiser = torch.optim.Adam((p for s in stages for p in s.parameters()), lr=1e-3)
    for _ in range(epochs):
        for rows in torch.randperm(len(images)).split(64):
            state, logits = stages[0](images[rows])
            loss = sum(cross_entropy(x, labels[rows]) for x in (logits, *stages[1](state)))
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()


def tensor(name: str, value: Tensor) -> dict:
    """Describe a tensor for the manifest: its first size is that of the batch."""
    return {"name": name, "dtype": "float32", "shape": ["batch", *value.shape[1:]]}


def write(stages: list[ExitStage], classes: list[str], blocks: list[int], folder: Path) -> None:
    """Export each stage for any batch size, and write the manifest."""
    folder.mkdir(parents=True, exist_ok=True)
    taken, entries = torch.zeros(2, 3, SIDE, SIDE), []
    for number, (stage, block) in enumerate(zip(stages, blocks, strict=True)):
        names = ["logits"] if stage.is_last else ["state", "logits"]
        with FlopCounterMode(display=False) as counter:
            outputs = dict(zip(names, stage.eval()(taken), strict=True))
        program = torch.onnx.export(
            stage,
            (taken,),
            dynamo=True,
            input_names=["taken"],
            output_names=names,
            dynamic_shapes=({0: torch.export.Dim("batch")},),
            opset_version=18,
            verbose=False,
        )
        graph = program.model_proto.SerializeToString()  # with its weights inside
        file = folder / f"stage_{number}.onnx"
        file.write_bytes(graph)
        entry = {"file": file.name, "sha256": hashlib.sha256(graph).hexdigest()}
        entry |= {"exit_block": block, "inputs": [tensor("taken", taken)]}
        entry |= {"state": [tensor(name, outputs[name]) for name in names[:-1]]}
        entry["parameters"] = sum(each.numel() for each in stage.parameters())
        entry["multiply_adds"] = counter.get_total_flops() // 2 // len(taken)
        entries.append(entry | {"logits": tensor("logits", outputs["logits"])})
        taken = outputs.get("state")
    manifest = {"format": 1, "name": "resnet", "classes": len(classes), "class_names": classes}
    manifest |= {"exit_rule": "max_prob", "precision": "float32", "opset": 18, "stages": entries}
    colours = {"interpolation": "bilinear", "mean": MEAN, "std": STD}
    manifest["preprocessing"] = {"size": SIDE, "crop": SIDE, **colours}
    (folder / "manifest.json").write_text(json.dumps(manifest, indent=1))


def main(folder: str = str(HERE / "resnet"), epochs: str = "8") -> None:
    """Train and export."""
    torch.manual_seed(0)
    torch.set_num_threads(1)  # more would wait for each other: the images are small
    scale = [v2.ToImage(), v2.Resize(SIDE), v2.ToDtype(torch.float32, scale=True)]
    data = ImageFolder(HERE / "images/train", v2.Compose([*scale, v2.Normalize(MEAN, STD)]))
    images, labels = torch.stack([image for image, _ in data]), torch.tensor(data.targets)
    net, count = ResNet(BasicBlock, [1, 1, 1, 1]), len(data.classes)
    stem = nn.Sequential(net.conv1, net.bn1, net.relu, net.maxpool, net.layer1)
    rest = nn.Sequential(net.layer2, net.layer3)
    stages = [ExitStage(stem, 64, count, is_last=False), ExitStage(rest, 256, count, is_last=True)]
    train(stages, images, labels, int(epochs))
    write(stages, data.classes, [0, 2], Path(folder))
    print(f"{folder}: {len(stages)} stages, {count} classes")


if __name__ == "__main__":
    main(*sys.argv[1:])
