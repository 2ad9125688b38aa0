"""Settings of a training: values and their meaning. Needs no torch."""

from __future__ import annotations

from dataclasses import dataclass

TEACHING = ("hard", "soft")
FLIPS = ("horizontal", "vertical")
OPTIMIZERS = ("adamw", "muon")
INITIAL_FILTERS = ("random", "blurs")
PRECISIONS = ("auto", "float32", "bfloat16")


@dataclass(frozen=True)
class HoldOut:
    """What is held out of the training split, to make every choice by.

    Attributes:
        fraction: of each class.
        seed: of the random draw. All stages on one data set must hold out the same images,
            otherwise a student is chosen by images that its teacher has learned.
    """

    fraction: float
    seed: int


@dataclass(frozen=True)
class EpochSchedule:
    """How long and how fast to learn.

    Attributes:
        epochs: passes over the training images, the warm-up's included.
        batch_size: images per step.
        learning_rate: the peak.
        weight_decay: decoupled, only on weight matrices and filters.
        warmup_epochs: epochs in which the learning rate rises linearly; in the exit stage, epochs
            in which the heads learn alone, before there are gates.
        seed: of weights, order and augmentation.
        ema_decay: of an exponential moving average of the weights, per step; the average is then
            validated and returned. 0: none.
        optimizer: one of OPTIMIZERS, for the matrices of the MLPs; AdamW updates all else.
    """

    epochs: int
    batch_size: int
    learning_rate: float
    weight_decay: float
    warmup_epochs: int
    seed: int
    ema_decay: float = 0.0
    optimizer: str = "adamw"


@dataclass(frozen=True)
class Augmentation:
    """How far a training image may be changed at random; the defaults change nothing.

    Attributes:
        rotate_degrees: in either direction.
        shift: in either direction along each axis, as a fraction of the side.
        scale: up or down, as a fraction: 0.1 is 0.9 to 1.1.
        crop_padding: pixels added on each side, before a random crop of the former size.
        flips: from FLIPS, each for half of the images.
        trivial: whether each image goes through one random change of colour or shape, of random
            strength (TrivialAugment: Müller and Hutter, ICCV 2021).
        erase: probability that a random rectangle is erased (Zhong et al., AAAI 2020).
        mixup: alpha of MixUp (Zhang et al., ICLR 2018); 0: none.
        cutmix: alpha of CutMix (Yun et al., ICCV 2019); 0: none. With both, each batch uses one.
    """

    rotate_degrees: float = 0.0
    shift: float = 0.0
    scale: float = 0.0
    crop_padding: int = 0
    flips: tuple[str, ...] = ()
    trivial: bool = False
    erase: float = 0.0
    mixup: float = 0.0
    cutmix: float = 0.0


@dataclass(frozen=True)
class Teaching:
    """What a student's distillation head learns from its teacher.

    Attributes:
        kind: `hard`, the teacher's most likely class, or `soft`, all its probabilities.
        temperature: divides both sides' logits in soft teaching; hard teaching has none.
    """

    kind: str = "hard"
    temperature: float = 1.0


@dataclass(frozen=True)
class ExitTraining:
    """How exits learn, after the warm-up of their heads.

    Attributes:
        cost_weight: lambda: nats of cross entropy that the full cost of a model is worth.
        phase_epochs: epochs of a gate phase and of the classifier phase that follows it.
        joint_epochs: epochs after the warm-up in which the backbone learns with all heads, the last
            included, before it is frozen for good. 0, as published: the backbone never learns.
    """

    cost_weight: float
    phase_epochs: int
    joint_epochs: int = 0
