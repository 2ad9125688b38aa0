"""What the checks share: the device, its models with random weights, and images.

On a GPU models have realistic sizes: so small ones as on a processor would leave it idle.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import gfnet
from gfnet.config import FAMILIES, ConfigError, configure
from jobs.machine.devices import CUDA, Device

if TYPE_CHECKING:
    from torch import Tensor

STUDENT = "gfnet-distil-dynn"
"""The family whose exits are timed; every engine is checked on it."""

_SEED = 22


@dataclass(frozen=True)
class Sizes:
    """Sizes of models and batches.

    Attributes:
        flat: of the families with one grid.
        hierarchical: of `gfnet-h`.
        exit_blocks: of those that may have exits.
        student: of the model on which every engine is checked and timed.
        images: number of images whose answers are compared; the CPU computes them in float64.
        threads: of the CPU; 0: all.
    """

    flat: dict[str, Any]
    hierarchical: dict[str, Any]
    exit_blocks: tuple[int, ...]
    student: dict[str, Any]
    images: int
    threads: int


SMALL = Sizes(
    flat={"img_size": 16, "patch_size": 4, "embed_dim": 16, "depth": 3},
    hierarchical={"img_size": 32, "embed_dims": (8, 8, 16, 16), "depths": (1, 1, 1, 1)},
    exit_blocks=(0, 1),
    student={"img_size": 32, "patch_size": 4, "embed_dim": 48, "depth": 7, "exit_blocks": (0,)},
    images=12,
    threads=1,
)
LARGE = Sizes(
    flat={"img_size": 224, "patch_size": 16, "embed_dim": 128, "depth": 3},
    hierarchical={"img_size": 224, "embed_dims": (32, 64, 128, 256), "depths": (1, 1, 1, 1)},
    exit_blocks=(0, 1),
    student={
        "img_size": 224,
        "patch_size": 16,
        "embed_dim": 384,
        "depth": 12,
        "exit_blocks": (2, 6),
    },
    images=12,
    threads=0,
)
CLASSES = 10


@dataclass(frozen=True)
class Bench:
    """What the checks run on.

    Attributes:
        device: the device to accept.
        runtimes: the engines to check, of gfnet.RUNTIMES.
        narrate: shows progress.
    """

    device: Device
    runtimes: tuple[str, ...]
    narrate: Callable[[str], None] = lambda _: None

    @property
    def is_gpu(self) -> bool:
        """Whether the device is a GPU."""
        return self.device.name == CUDA

    @property
    def sizes(self) -> Sizes:
        """The sizes for this device."""
        return LARGE if self.is_gpu else SMALL

    def families(self) -> Iterator[tuple[str, gfnet.GFNet]]:
        """Yield a model of every family, of those with exits also without gates, on the CPU."""
        for family in FAMILIES:
            sizes = self._sizes_of(family)
            for has_gates in (True, False):
                try:
                    changes = sizes | {"exit_blocks": self.sizes.exit_blocks}
                    changes |= {} if has_gates else {"has_gates": False}
                    yield (
                        f"{family}{'' if has_gates else ' without gates'}",
                        random_model(family, **changes),
                    )
                except ConfigError:  # a static family: no exits
                    if has_gates:
                        yield family, random_model(family, **sizes)

    def rules(self) -> Iterator[tuple[str, gfnet.GFNet]]:
        """Yield the student under every exit rule but that of its gates, on the CPU."""
        for rule in gfnet.EXIT_RULES:
            if rule != self.student.exit_rule:
                yield f"{STUDENT} by {rule}", gfnet.with_rule(self.student, rule)

    @cached_property
    def student(self) -> gfnet.GFNet:
        """The model on which every engine is checked, on the CPU."""
        return random_model(STUDENT, **self.sizes.student)

    @cached_property
    def student_there(self) -> gfnet.GFNet:
        """The same on the device: one object, so that each engine is built once."""
        return copy.deepcopy(self.student).to(self.device.name)

    def engine(self, runtime: str, model: gfnet.GFNet, precision: str = "float32") -> gfnet.Runtime:
        """Put a model on an engine."""
        return gfnet.runtime(runtime, model, threads=self.sizes.threads, precision=precision)

    def images(self, count: int, model: gfnet.GFNet, seed: int = 0) -> Tensor:
        """Return (count, 3, H, W) random images on the CPU, each with colours of its own.

        Noise alone looks the same in all images to heads that read the mean of many tokens.
        """
        import torch

        side, generator = model.config.img_size, torch.Generator().manual_seed(seed)
        colours = torch.randn(count, 3, 1, 1, generator=generator)
        return colours + torch.randn(count, 3, side, side, generator=generator) / 2

    def _sizes_of(self, family: str) -> dict[str, Any]:
        """Return the sizes that a family takes: some have stages."""
        sizes = self.sizes
        try:
            configure(family, **sizes.flat)
        except ConfigError:
            return sizes.hierarchical
        return sizes.flat


def random_model(family: str, **sizes: Any) -> gfnet.GFNet:
    """Create a model whose tokens keep their size, and whose scores differ from image to image.

    Fresh weights are so small that all images would score alike, and rounding would show nothing.
    """
    import torch

    with torch.random.fork_rng(devices=()), torch.no_grad():
        torch.manual_seed(_SEED)
        model = gfnet.create(family, num_classes=CLASSES, **sizes)
        for name, parameter in model.named_parameters():
            if "complex_weight" in name or "gates" in name:
                parameter.normal_()
            elif parameter.dim() > 1 and name.endswith("weight"):
                gain = 4.0 if "head" in name else 1.0
                parameter.normal_(std=gain / math.sqrt(parameter[0].numel()))
            elif "norm" not in name:
                parameter.normal_(std=0.3)
    return model.eval()


class ResidentImages:
    """Images that lie on the device already, in the place of a worker's pipeline."""

    def __init__(self, images: Any, device: Device) -> None:
        self._images = images.to(device.name)
        self.device = device

    def batch(self, _encoded: object, places: Any) -> tuple[Any, list[int]]:
        """Return the images at these places, and the places."""
        kept = list(places)
        return self._images[kept], kept


def timed_images(images: Any, device: Device, batch_size: int) -> Any:
    """Return images as the product's clock takes them (`jobs.worker.timing`)."""
    from jobs.worker.timing import TimedShard

    pipeline: Any = ResidentImages(images, device)
    return TimedShard(pipeline, [b""] * len(images), batch_size)
