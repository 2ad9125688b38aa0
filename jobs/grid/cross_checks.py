"""Checks between the axes of a grid, beyond the check of each value by itself."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import product

from jobs.common.yaml_document import Value
from jobs.grid.datasets import Dataset
from jobs.grid.grid import INT8, Grid
from jobs.grid.models import Model
from jobs.grid.threshold_axis import Threshold
from jobs.machine.devices import ANY

MAX_COMBINATIONS = 100_000
"""More than any night can run; each is held in memory from the plan on."""


def check_size(root: Value, grid: Grid) -> None:
    """Check that a few lines of axes do not become more cells than fit into memory."""
    axes = (grid.models, grid.datasets, grid.devices, grid.runtimes, grid.precisions, grid.threads)
    written = sum(threshold.is_written for threshold in grid.thresholds)
    by_load = (
        len(grid.throughput_batches) if "throughput" in grid.measure else 0,
        len(grid.serving.arrivals) if "serving" in grid.measure else 0,
    )
    combinations = math.prod(map(len, axes)) * max(written, 1) * max(*by_load, 1)
    if combinations > MAX_COMBINATIONS:
        root.problem(
            f"{combinations:,} combinations of models, data sets, devices, runtimes, precisions,"
            " threads and thresholds written out, batch sizes and arrivals of loads",
            f"at most {MAX_COMBINATIONS:,}: fewer values per axis, or several grids",
        )


def check_names(models: Sequence[tuple[Value, Model]]) -> None:
    """Check that model names are unique, since rows identify models by name."""
    counts = Counter(model.name for _, model in models)
    for value, model in models:
        if counts[model.name] > 1:
            value.problem(
                f"{counts[model.name]} models are called {model.name!r}",
                "each name once; write {name: ..., checkpoint: ...} to choose one",
            )


def check_vectors(thresholds: Sequence[tuple[Value, Threshold]], models: Sequence[Model]) -> None:
    """Check that a list of thresholds has one number per gate of each model that has gates."""
    for value, threshold in thresholds:
        for model in models:
            if threshold.holds(model) and not threshold.fits(model):
                value.problem(
                    f"{len(threshold.values)} thresholds for the model {model.name!r}",
                    f"{model.gates}, one for each exit after blocks"
                    f" {list(model.config.exit_blocks)}, counted from 0",
                )


def check_ranges(thresholds: Sequence[tuple[Value, Threshold]], grid: Grid) -> None:
    """Check that ranges come with accuracy: only its all-exit pass answers a range."""
    if "accuracy" in grid.measure or not grid.measure:
        return
    places = {value.key: value for value, threshold in thresholds if not threshold.is_written}
    for value in places.values():
        value.problem(
            "a range without accuracy in `measure`",
            "numbers written out; or accuracy in `measure`, whose all-exit pass answers ranges",
        )


def check_calibration(entries: Mapping[str, Value], grid: Grid) -> None:
    """Check that int8 of checkpoints has images to calibrate on, and that nothing else has.

    Args:
        entries: of the grid, by key.
        grid: what they say.
    """
    is_needed = INT8 in grid.precisions and any(
        model.graph_precision is None for model in grid.models
    )
    if is_needed and "calibration" not in entries:
        entries["precisions"].problem(
            "int8 without `calibration`, the images that its ranges are taken from",
            "calibration: {dataset: NAME, images: 512}, training images that are not tested",
        )
    elif "calibration" in entries and not is_needed:
        entries["calibration"].problem(
            "`calibration` where no checkpoint runs in int8", "int8 among `precisions`, or no key"
        )


def check_serving(entries: Mapping[str, Value], grid: Grid) -> None:
    """Check that a grid that serves models says how fast requests arrive.

    Args:
        entries: of the grid, by key.
        grid: what they say.
    """
    if "serving" in grid.measure and "serving" not in entries:
        entries["measure"].problem(
            "serving without `serving`, the rates at which requests arrive",
            "serving: {arrivals: [10, 20, 40], seconds: 60}, in requests per second",
        )


def check_borrowing(entries: Mapping[str, Value], grid: Grid) -> None:
    """Check that devices that borrow their accuracy are named, and that their lender runs the same.

    Args:
        entries: of the grid, by key.
        grid: what they say.
    """
    if grid.borrowing is None:
        return
    given, lender = entries["accuracy"], grid.borrowing.lender
    if "accuracy" not in grid.measure:
        given.problem(
            "`accuracy` without accuracy in `measure`", "accuracy in `measure`, or no such key"
        )
    listed = entries.get("devices")
    if listed is None or any(value.node.value == ANY for value in listed.items()):
        (listed or given).problem(
            f"device {ANY}, which may be {lender} itself, in a grid whose devices borrow from it",
            "devices by name",
        )
    elif set(grid.devices) <= {lender}:
        given.problem(
            f"{lender} is the only device, so none borrows from it",
            "`devices` with one that borrows, or no key `accuracy`",
        )
    if missing := _find_unlent(grid, lender):
        entries["exclude"].problem(
            f"{lender} is left out for {missing['model']} on {missing['dataset']}, which"
            f" {missing['device']} borrows from it",
            "both devices left out, or neither",
        )


def _find_unlent(grid: Grid, lender: str) -> Mapping[str, str] | None:
    """Return the first combination of a borrower that the grid excludes on the lender."""
    if not grid.exclude or lender not in grid.devices:
        return None
    for model, dataset, device, runtime, precision, threads in product(
        grid.models, grid.datasets, grid.devices, grid.runtimes, grid.precisions, grid.threads
    ):
        names = {
            "model": model.name,
            "dataset": dataset.label,
            "device": device,
            "runtime": runtime,
            "precision": precision,
            "threads": str(threads),
        }
        if not grid.excludes(names) and grid.excludes({**names, "device": lender}):
            return names
    return None


def check_classes(datasets: Sequence[tuple[Value, Dataset]], grid: Grid) -> None:
    """Check that each label is a class of each model, and names the same class there.

    A pair that the grid excludes in all settings is not checked.
    """
    for value, dataset in datasets:
        classes = len(dataset.images.class_names)
        for model in grid.models:
            pair = {"model": model.name, "dataset": dataset.label}
            if grid.excludes(pair):
                continue
            if classes > model.config.num_classes:
                from_1 = "; its labels start at 1, and the first class is 0"
                is_from_1 = dataset.images.labels.min() == 1
                leave_out = (
                    "; `exclude` leaves out a pair:"
                    f" {{model: {model.name}, dataset: {dataset.label}}}"
                )
                value.problem(
                    f"{dataset.label} has {classes} classes, the model {model.name!r} has"
                    f" {model.config.num_classes}{from_1 if is_from_1 else ''}",
                    "data sets whose labels are among the model's classes"
                    + (leave_out if len(datasets) * len(grid.models) > 1 else ""),
                )
            elif moved := _moved(dataset.images.class_names, model.metadata.class_names):
                name, here, there = moved
                value.problem(
                    f"class {name!r} is label {here} of {dataset.label} and label {there} of the"
                    f" model {model.name!r}",
                    "the model's classes in its order. A class without images here keeps its label"
                    " by a folder of its name in another split, such as train/NAME",
                )


def _moved(of_images: Sequence[str], of_model: Sequence[str]) -> tuple[str, int, int] | None:
    """Return the first class that both know under different labels, and these labels.

    Names that only one of them knows are ignored.
    """
    label_of = {name: label for label, name in enumerate(of_model)}
    found = (
        (name, label, label_of[name])
        for label, name in enumerate(of_images)
        if label_of.get(name, label) != label
    )
    return next(found, None)
