"""One image through each runtime and precision, against eager torch and against the limit.

The rival is eager torch with its FFT, in float32. The limit of a runtime is the time that the
products with the model's large weights take in it alone: patch embedding, both of each MLP, head,
one after the other, with nothing between them (`ProductsAlone`). Whatever else a model computes, no
engine that has these products at this speed can be faster.

The same untrained weights and image; all take turns, forwards and backwards, on one thread. Logits
are copied to the host, also from a GPU, which ends a call. The
answers are compared first: the largest difference of a logit from eager float32 is printed.

    python benchmarks/runtimes.py [--model gfnet-xs] [--batch 1] [--repeats 15] [--threads 1]
                                  [--img-size 224] [--device cpu]
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

import gfnet
import storage
from gfnet.runtimes import availability
from gfnet.runtimes.int8 import CalibrationImages

REFERENCE = ("torch", "float32")
AIM_LIMIT = 1.25
CALIBRATED_ON = 16
"""Images for int8: of untrained weights nobody asks for the accuracy."""
AIMS = {"float32": 2.4, "bfloat16": 4.0}
FLAT = [name for name, config in gfnet.VARIANTS.items() if config.family == "gfnet"]


class ProductsAlone(gfnet.GFNet):
    """The products with weights of a model, as a model that any engine takes; no exits."""

    def stage(self, first: int, last: int, entering: Tensor) -> tuple[Tensor, ...]:
        """(B, K) numbers that mean nothing, by as many multiplications as the model has."""
        assert first == 0  # without exits there is one stage
        assert last == self.config.last_block
        tokens = self.patch_embed(entering)
        for block in self.blocks:
            hidden = functional.linear(tokens, block.mlp.fc1.weight)
            tokens = functional.linear(hidden, block.mlp.fc2.weight)
        return (functional.linear(tokens[:, 0], self.head.weight),)

    def forward(self, images: Tensor) -> Tensor:
        """As the model itself."""
        return self.stage(0, self.config.last_block, images)[0]


class Engine(NamedTuple):
    """A runtime and precision with the model in it, and with its products alone."""

    model: gfnet.Runtime
    products: gfnet.Runtime


def engines(
    model: gfnet.GFNet, images: Tensor, threads: int, missing: dict[tuple[str, str], str]
) -> Iterator[tuple[tuple[str, str], Engine]]:
    """All that can be had here, the reference first; those that cannot are missing for a reason."""
    products = ProductsAlone(model.config).to(images.device)
    products.load_state_dict(model.state_dict())
    digits = storage.open_images("digits", "train").read(range(CALIBRATED_ON))
    calibration = CalibrationImages(
        f"{CALIBRATED_ON} digits",
        digits.column("image").to_pylist,
        gfnet.Preprocessing(images.shape[-1], images.shape[-1]),
    )
    for name in gfnet.RUNTIMES:
        for precision in gfnet.PRECISIONS:
            if reason := availability.unavailable(name, precision, images.device.type):
                missing[name, precision] = reason
                continue
            used = calibration if precision == "int8" else None
            put = partial(
                gfnet.runtime, name, threads=threads, precision=precision, calibration=used
            )
            try:
                built = Engine(put(model), put(products))
                for engine in built:  # some processors lack what an engine needs when it runs
                    engine(images)
            except (gfnet.UnavailableError, RuntimeError) as err:
                missing[name, precision] = (str(err).splitlines() or [type(err).__name__])[0]
                continue
            yield (name, precision), built


def seconds(call: Callable[[], object]) -> float:
    """How long one call takes."""
    began_s = time.perf_counter()
    call()
    return time.perf_counter() - began_s


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", choices=FLAT, default="gfnet-xs")
    parser.add_argument("--img-size", type=int, default=224)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    options = parser.parse_args()
    torch.manual_seed(0)
    model = gfnet.create(options.model, img_size=options.img_size).to(options.device)
    images = torch.randn(options.batch, 3, options.img_size, options.img_size).to(options.device)
    missing: dict[tuple[str, str], str] = {}
    with torch.inference_mode():
        every = dict(engines(model, images, options.threads, missing))
    calls = [(key, part) for key in every for part in Engine._fields]
    times: dict[tuple[tuple[str, str], str], list[float]] = {call: [] for call in calls}
    with torch.inference_mode():
        answers = {key: engine.model(images) for key, engine in every.items()}
        for _ in range(options.repeats):
            for key, part in calls:
                runtime = getattr(every[key], part)
                times[key, part].append(seconds(lambda runtime=runtime: runtime(images).cpu()))
            calls.reverse()
    print(
        f"{options.model}, {options.img_size} px, batch {options.batch},"
        f" {options.threads} thread(s), medians of {options.repeats}"
    )
    print(
        f"{'runtime':9}{'precision':10}{'ms':>7}{'25 %':>7}{'75 %':>7}{'eager /':>9}"
        f"{'products':>10}{'/ products':>12}{'logits':>9}"
    )
    reference = statistics.median(times[REFERENCE, "model"])
    for key in every:
        low, middle, high = statistics.quantiles(times[key, "model"], n=4, method="inclusive")
        limit = statistics.median(times[key, "products"])
        difference = float((answers[key] - answers[REFERENCE]).abs().max())
        print(
            f"{key[0]:9}{key[1]:10}{middle * 1e3:7.2f}{low * 1e3:7.2f}{high * 1e3:7.2f}"
            f"{reference / middle:9.2f}{limit * 1e3:10.2f}{middle / limit:12.2f}{difference:9.0e}"
        )
    for (name, precision), reason in missing.items():
        print(f"{name:9}{precision:10}{'–':>7}  {reason}")
    aims = ", ".join(f"{aim} in {precision}" for precision, aim in AIMS.items())
    print(f"aims: eager / best {aims}; best float32 / its products at most {AIM_LIMIT}")


if __name__ == "__main__":
    main()
