"""The keys of a grid file, each with what it means: for its reader and for the reference."""

from __future__ import annotations

import gfnet
from gfnet.bundle.support import REFERENCE_RUNTIME
from jobs.grid.calibration import KEYS as CALIBRATION_KEYS
from jobs.grid.datasets import KEYS as DATASET_KEYS
from jobs.grid.grid import (
    ACCURACY_BATCH,
    DEFAULT_MEASURES,
    FEWEST_UNTIL,
    INT8,
    LATENCY_BATCH,
    MEASURES,
    MOST_UNTIL,
    THROUGHPUT_BATCHES,
    Borrowing,
    LatencyProtocol,
    ServingProtocol,
)
from jobs.grid.models import GATE
from jobs.grid.models import KEYS as MODEL_KEYS
from jobs.grid.threshold_axis import DEFAULT, RANGE_KEYS
from jobs.machine.power.protocol import EnergyProtocol


def _listed(names: tuple[str, ...]) -> str:
    return ", ".join(f"`{name}`" for name in names)


KEYS = {
    "name": "Name of the grid, and first part of its runs' names. Default: the file's name.",
    "models": "List of models: a bundled name, the path of a checkpoint or a bundle, or a mapping.",
    "datasets": "List of data sets: a name, or a mapping.",
    "thresholds": "List of thresholds: a number, a list with one number per exit, a range, or"
    f" `{DEFAULT}`, the checkpoint's own; or a mapping from exit rule to such a list. Default:"
    f" `[{DEFAULT}]`.",
    "exit_rules": "List of what is compared with a threshold:"
    f" {_listed(gfnet.EXIT_RULES)}. Default: `{GATE}`; `max_prob` for exits without gates.",
    "devices": "List of devices: `any` (a GPU if there is one), `cpu`, `cuda`, or the name of a"
    " node's device. Default: `[any]`.",
    "runtimes": f"List of engines: {_listed(gfnet.RUNTIMES)}. Default: `[torch]`; if all models are"
    f" bundles, `[{REFERENCE_RUNTIME}]`.",
    "precisions": f"List of precisions: {_listed(gfnet.PRECISIONS)}. Default: `[float32]`; if all"
    " models are bundles, those of their graphs.",
    "threads": "List of numbers of processor threads; 0: all processors of the node. Default:"
    " `[0]`.",
    "batch_sizes": "Images per batch, by what is measured.",
    "measure": f"List of what to measure: {_listed(MEASURES)}. Default:"
    f" `[{', '.join(DEFAULT_MEASURES)}]`.",
    "accuracy": "Borrows the accuracy of slow devices from a fast one. Default: every device"
    " answers all images.",
    "latency": "How routed cells are timed.",
    "serving": "Requests that models are served with; required if serving is measured.",
    "energy": "Windows of power around each timed task, if energy is measured.",
    "calibration": f"Images that the ranges of `{INT8}` are taken from; required with `{INT8}`"
    " among the precisions of a checkpoint, refused without.",
    "baseline": "Name of the model that savings are relative to. Default: the first model without"
    " exits.",
    "exclude": "List of combinations that are left out, each a mapping from axes to values.",
}
REQUIRED = ("models", "datasets")

UNTIL_KEYS = {
    "mean": "Percentage of each cell's mean time, as `1%`.",
    "ratio": "Percentage of each cell's ratio to the baseline in its setting, as `1%`.",
}
ROUNDS_KEYS = {"min": "The fewest rounds.", "max": "The most rounds."}

BELOW = {
    "models": MODEL_KEYS,
    "datasets": DATASET_KEYS,
    "thresholds": RANGE_KEYS,
    "batch_sizes": {
        "latency": "Images per batch of routed cells and of other timed cells. Default:"
        f" {LATENCY_BATCH}.",
        "accuracy": f"Images per batch of the all-exit pass. Default: {ACCURACY_BATCH}.",
        "throughput": "List of images per batch of throughput cells, a cell for each. Default:"
        f" {list(THROUGHPUT_BATCHES)}.",
    },
    "accuracy": {
        "borrow": "Device whose all-exit passes answer all images, by name; not `any`. The others"
        " answer a sample, and their accuracy is that of this device, with a bound.",
        "sample": "Images that each other device answers, the first of the fixed shuffle. Default:"
        f" {Borrowing.sample}.",
    },
    "latency": {
        "rounds": f"Full passes over the images. Default: {LatencyProtocol.rounds}. With `until`, a"
        f" mapping of `min` and `max`. Default: `{{min: {FEWEST_UNTIL}, max: {MOST_UNTIL}}}`.",
        "warmup_images": "Images that run before each round and are not recorded. Default:"
        f" {LatencyProtocol.warmup_images}.",
        "images": "Images timed in each round, the first of the fixed shuffle. Default:"
        f" {LatencyProtocol.images}.",
        "until": "Rounds end when the 95 % interval of each mean reaches no further to either side"
        " than this: a percentage, as `1%`; of ratios to the baseline, as `{ratio: 1%}`. Default:"
        " all `rounds` are run.",
    },
    "serving": {
        "arrivals": "List of requests per second, on average; a cell for each.",
        "seconds": "Seconds of each round in which requests arrive. Default:"
        f" {ServingProtocol.seconds:g}.",
    },
    "energy": {
        "idle_s": f"Least seconds of each idle window. Default: {EnergyProtocol.idle_s}.",
        "active_s": f"Least seconds of each active window. Default: {EnergyProtocol.active_s}.",
        "settle_s": f"Seconds to wait before each idle window. Default: {EnergyProtocol.settle_s}.",
    },
    "calibration": CALIBRATION_KEYS,
    "exclude": {
        "model": "Name of a model.",
        "dataset": "Label of a data set, as `gfjobs plan` shows it.",
        "device": "One of `devices`.",
        "runtime": "One of `runtimes`.",
        "precision": "One of `precisions`.",
        "threads": "One of `threads`.",
    },
}
"""The keys of each value that is a mapping, or of each mapping in its list."""
