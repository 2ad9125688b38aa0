"""The keys of a recipe: which stage has which, and what each means.

They are for the recipe's reader and for the reference.
"""

from __future__ import annotations

from collections.abc import Sequence

from gfnet.preprocess import EXIF, INTERPOLATIONS
from gfnet.training.settings import FLIPS, INITIAL_FILTERS, OPTIMIZERS, PRECISIONS, TEACHING

WEIGHTS = ("float32", "float16")


def _one_of(options: Sequence[str]) -> str:
    """Format the options of a key whose default is the first."""
    first, *others = (f"`{option}`" for option in options)
    *some, last = others
    return f"{', '.join([f'{first} (default)', *some])} or {last}"


KEYS = {
    "name": "Name of the recipe; the checkpoint keeps it.",
    "stage": "What is trained: `baseline`, `distillation` or `exits`.",
    "dataset": "The data set, by a name as in a grid; its training split is read.",
    "validation": "The part of the training split that is held out to make every choice by.",
    "augmentation": "How far a training image may be changed at random. Default: not at all.",
    "epochs": "Passes over the training images, those of the warm-up included.",
    "batch_size": "Images per step.",
    "learning_rate": "The highest learning rate; it rises linearly, then follows a cosine.",
    "weight_decay": "Decoupled weight decay, only of weight matrices and filters.",
    "warmup_epochs": "Epochs in which the learning rate rises; in the stage `exits`, in which only"
    " the heads are trained.",
    "seed": "Of weights, order and augmentation.",
    "optimizer": f"{_one_of(OPTIMIZERS)}: for the matrices of the MLPs; AdamW updates the others.",
    "precision": f"{_one_of(PRECISIONS)}: of matrix products; `auto` times both.",
    "weights": f"{_one_of(WEIGHTS)}: how the checkpoint stores them.",
    "threads": "Processor threads.",
    "output": "Path of the checkpoint, which ends in `.safetensors`.",
    "model": "Sizes of a new model.",
    "initial_filters": f"{_one_of(INITIAL_FILTERS)}: filters of a new model.",
    "start": "The checkpoint to start from: for a baseline, instead of `model`; for exits, the"
    " model that gets them.",
    "preprocessing": "How images are prepared; later stages use the same.",
    "label_smoothing": "Smoothing of the labels' loss. Default: 0.",
    "ema_decay": "Decay per step of an average of the weights, which is then the output. Default:"
    " 0, no average.",
    "teacher": "The checkpoint that a student learns from.",
    "teaching": "What it learns from it.",
    "exit_blocks": "Blocks, counted from 0, after which the model gets exits.",
    "cost_weight": "λ: the cost of running all blocks, in nats of loss.",
    "phase_epochs": "Epochs of each phase of the gates, and of each phase of the heads.",
    "joint_epochs": "Epochs after the warm-up in which the backbone is trained with all heads."
    " Default: 0.",
}

_SCHEDULE = ("epochs", "batch_size", "learning_rate", "weight_decay", "warmup_epochs", "seed")
_LOSS = ("label_smoothing", "ema_decay")
COMMON = (
    "name",
    "stage",
    "dataset",
    "validation",
    "augmentation",
    *_SCHEDULE,
    "optimizer",
    "precision",
    "weights",
    "threads",
    "output",
)
"""The keys that every stage has."""

OF_STAGE = {
    "baseline": ("model", "initial_filters", "start", "preprocessing", *_LOSS),
    "distillation": ("model", "initial_filters", "teacher", "teaching", *_LOSS),
    "exits": ("start", "exit_blocks", "cost_weight", "phase_epochs", "joint_epochs"),
}
"""The other keys of each stage. A baseline has a `model` or a `start`."""

OPTIONAL = (
    "initial_filters",
    "augmentation",
    "preprocessing",
    "optimizer",
    "precision",
    "weights",
    *_LOSS,
    "joint_epochs",
)

SIZES = {
    "img_size": "Side of an image, pixels.",
    "patch_size": "Side of a patch, pixels.",
    "embed_dim": "Channels of a token.",
    "depth": "Number of blocks.",
}
"""The keys of `model` that must be there."""

BELOW = {
    "validation": {
        "fraction": "Share of each class that is held out.",
        "seed": "Of the random draw; all stages must hold out the same images.",
    },
    "augmentation": {
        "rotate_degrees": "Rotation in either direction, degrees. Default: 0.",
        "shift": "Shift in either direction along each axis, as a fraction of the side. Default:"
        " 0.",
        "scale": "Scaling up or down, as a fraction: 0.1 is 0.9 to 1.1. Default: 0.",
        "crop_padding": "Pixels added on each side before a random crop. Default: 0.",
        "flips": f"List of {' and '.join(f'`{flip}`' for flip in FLIPS)}, each for half of the"
        " images. Default: none.",
        "trivial": "`true`: one random change of colour or shape per image (TrivialAugment)."
        " Default: `false`.",
        "erase": "Probability that a random rectangle is erased. Default: 0.",
        "mixup": "Alpha of MixUp; not in the stage `exits`. Default: 0, none.",
        "cutmix": "Alpha of CutMix; not in the stage `exits`. Default: 0, none.",
    },
    "model": SIZES
    | {
        "filter_grid": "Grid of the tokens: `[a, b]`, with a·b tokens. Default: the factor pair"
        " nearest to a square."
    },
    "preprocessing": {
        "size": "The shorter side after resizing, pixels. Default: `img_size`.",
        "interpolation": f"{_one_of(INTERPOLATIONS[::-1])}: of resizing.",
        "mean": "List of the means of red, green and blue, in 0..1. Default: ImageNet's.",
        "std": "List of their standard deviations. Default: ImageNet's.",
        "exif": f"{_one_of(EXIF)}: the EXIF orientation of an image.",
    },
    "teaching": {
        "kind": f"`{TEACHING[0]}`: the teacher's most likely class; `{TEACHING[1]}`: all its"
        " probabilities.",
        "temperature": f"Divides the logits of both; required for `{TEACHING[1]}`, refused for"
        f" `{TEACHING[0]}`.",
    },
}
"""The keys of each value that is a mapping."""
