"""Reads a grid file: resolves and checks its axes, and reports all problems at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import gfnet
from gfnet.bundle.support import REFERENCE_RUNTIME
from jobs.common.yaml_document import Document, Value
from jobs.grid.calibration import CalibrationSet, read_calibration
from jobs.grid.cross_checks import (
    check_borrowing,
    check_calibration,
    check_classes,
    check_names,
    check_ranges,
    check_serving,
    check_size,
    check_vectors,
)
from jobs.grid.datasets import Dataset, read_datasets
from jobs.grid.grid import (
    ACCURACY_BATCH,
    DEFAULT_MEASURES,
    LATENCY_BATCH,
    MAX_BATCH,
    MEASURES,
    NAME,
    NAME_RULE,
    THROUGHPUT_BATCHES,
    Borrowing,
    Grid,
    LatencyProtocol,
    ServingProtocol,
    grid_name,
)
from jobs.grid.keys import BELOW, KEYS, REQUIRED
from jobs.grid.models import GATE, Model, read_model
from jobs.grid.rounds import MAX_ROUNDS, check_baseline, read_until
from jobs.grid.threshold_axis import PATIENCE, Threshold, read_thresholds
from jobs.machine.devices import ANY, CUDA, SLUG, SLUG_RULE
from jobs.machine.power.protocol import EnergyProtocol

MAX_IMAGES = 2**31 - 1  # the most that the columns hold
MAX_THREADS = 1024
MAX_WAIT_S = 3600.0
MIN_ARRIVALS_PER_S = 0.001
MIN_SERVING_S = 0.1
MAX_REQUESTS = 100_000
"""Most expected requests of a round: each becomes a row, and a round is one commit."""

_OF_NODES = "; with --address, also every device of the cluster's nodes"

T = TypeVar("T")


def read_grid(
    document: Document,
    devices: Sequence[str] | None,
    base: Path,
    *,
    may_download: bool = True,
) -> Grid:
    """Read and check a grid.

    Args:
        document: the file.
        devices: the names that `devices` may use; None: any name that a node could have.
        base: the folder that relative paths start from.
        may_download: whether a data set that is not on this machine is downloaded.

    Raises:
        BadInputError: every problem of the file, each with its line and key.
    """
    grid = _Reader(document, base, may_download=may_download).read(devices)
    document.check()
    return grid


class _Reader:
    """Reads one document; records problems there, and returns stand-ins for bad values."""

    def __init__(self, document: Document, base: Path, *, may_download: bool) -> None:
        self.document = document
        self.base = base
        self.may_download = may_download
        self.entries = document.root().mapping(KEYS, REQUIRED)

    def read(self, devices: Sequence[str] | None) -> Grid:
        """Return the grid, with stand-ins for values that have problems."""
        listed = [(v, model) for v in self._items("models") if (model := read_model(v, self.base))]
        rules = self._rules(listed)
        models = [
            (value, model.under(rule))
            for value, model in listed
            for rule in (rules if rules and model.gates else [model.exit_rule])
        ]
        datasets = read_datasets(self._items("datasets"), self.base, may_download=self.may_download)
        of_graphs = dict.fromkeys(model.graph_precision for _, model in models)
        # Torch runs no bundle, and a bundle's graphs have a precision of their own.
        has_only_bundles = bool(models) and None not in of_graphs
        in_graphs = tuple(filter(None, of_graphs))
        used = dict.fromkeys(model.exit_rule for _, model in models if model.gates)
        thresholds = list(self._thresholds([*used] or [GATE]))
        latency_batch, accuracy_batch, throughput_batches = self._batch_sizes()
        grid = Grid(
            name=self._name(),
            text=self.document.text,
            base=self.base,
            models=tuple(model for _, model in models),
            datasets=tuple(dataset for _, dataset in datasets),
            thresholds=tuple(threshold for _, threshold in thresholds),
            devices=self._axis("devices", ("any",), lambda v: _device(v, devices)),
            runtimes=self._axis(
                "runtimes",
                (REFERENCE_RUNTIME if has_only_bundles else "torch",),
                lambda v: v.choice(gfnet.RUNTIMES, "runtime"),
            ),
            precisions=self._axis(
                "precisions",
                in_graphs if has_only_bundles else ("float32",),
                lambda v: v.choice([*dict.fromkeys(gfnet.PRECISIONS + in_graphs)], "precision"),
            ),
            threads=self._axis("threads", (0,), lambda v: v.whole(0, MAX_THREADS)),
            latency_batch=latency_batch,
            accuracy_batch=accuracy_batch,
            throughput_batches=throughput_batches,
            measure=self._measure(),
            latency=self._latency(),
            serving=self._serving(),
            energy=self._energy(),
            calibration=self._calibration(datasets),
            borrowing=self._borrowing(devices),
            baseline=self._baseline([model.name for _, model in models]),
            exclude=(),
        )
        grid = replace(grid, exclude=self._exclude(grid))
        check_size(self.document.root(), grid)
        check_names(models)
        check_vectors(thresholds, grid.models)
        check_ranges(thresholds, grid)
        check_classes(datasets, grid)
        check_calibration(self.entries, grid)
        check_serving(self.entries, grid)
        check_baseline(self.entries, grid)
        check_borrowing(self.entries, grid)
        return grid

    def _items(self, key: str) -> list[Value]:
        return self.entries[key].items() if key in self.entries else []

    def _axis(self, key: str, default: tuple[T, ...], read: Callable[[Value], T]) -> tuple[T, ...]:
        """Return the distinct values of a list, or the default if the grid lacks the key."""
        if key not in self.entries:
            return default
        return tuple(dict.fromkeys(read(value) for value in self._items(key)))

    def _name(self) -> str:
        """Return the grid's name, which becomes part of run ids; default: the file's name."""
        if "name" not in self.entries:
            return grid_name(self.document.path.stem)
        name = self.entries["name"].text()
        if name and not NAME.fullmatch(name):
            self.entries["name"].problem(f"{name!r}", NAME_RULE)
        return name

    def _rules(self, models: Sequence[tuple[Value, Model]]) -> tuple[str, ...]:
        """Return the exit rules, each of which makes a model with exits another model; () if none.

        Then each model has its own.
        """
        if "exit_rules" not in self.entries:
            return ()
        rules = self._axis("exit_rules", (GATE,), lambda v: v.choice(gfnet.EXIT_RULES, "exit rule"))
        early = [(value, model) for value, model in models if model.gates]
        if models and not early:
            self.entries["exit_rules"].problem("no model here has exits", "a model with exits")
        for value, model in early if GATE in rules else ():
            if not model.config.has_gates:
                value.problem(
                    f"the exits of {model.name} have no gates for the exit rule gate",
                    f"exit_rules of {', '.join(gfnet.EXIT_RULES[1:])}, or a model with gates",
                )
        return rules

    def _thresholds(self, rules: Sequence[str]) -> Iterator[tuple[Value, Threshold]]:
        """Yield the thresholds: a list for every rule but patience, or a list per rule."""
        given = self.entries.get("thresholds")
        by_rule: dict[str, Value] = {}
        if given is not None and given.is_mapping:
            by_rule = given.mapping(rules)
            for rule, value in by_rule.items():
                yield from read_thresholds(value.items(), rule)
        elif given is not None:
            yield from read_thresholds(given.items())
        stand_in = given or Value(self.document, "thresholds", self.document.root().node)
        is_listed = given is not None and not given.is_mapping
        for rule in rules:
            if rule not in by_rule and (rule == PATIENCE or not is_listed):
                yield stand_in, Threshold((), is_written=True, rule=rule)

    def _measure(self) -> tuple[str, ...]:
        if "measure" not in self.entries:
            return DEFAULT_MEASURES
        return tuple(dict.fromkeys(v.choice(MEASURES, "measure") for v in self._items("measure")))

    def _batch_sizes(self) -> tuple[int, int, tuple[int, ...]]:
        """Return the batch sizes of latency and accuracy, and those of throughput."""
        if "batch_sizes" not in self.entries:
            return LATENCY_BATCH, ACCURACY_BATCH, THROUGHPUT_BATCHES
        given = self.entries["batch_sizes"]
        if not given.is_mapping:
            given.problem(given.shown, "one size for each, as {latency: 1, accuracy: 256}")
            return LATENCY_BATCH, ACCURACY_BATCH, THROUGHPUT_BATCHES
        sizes = given.mapping(BELOW["batch_sizes"])
        latency = sizes["latency"].whole(1, MAX_BATCH) if "latency" in sizes else LATENCY_BATCH
        accuracy = sizes["accuracy"].whole(1, MAX_BATCH) if "accuracy" in sizes else ACCURACY_BATCH
        throughput: tuple[int, ...] = THROUGHPUT_BATCHES
        if "throughput" in sizes:
            listed = [value.whole(1, MAX_BATCH) for value in sizes["throughput"].items()]
            throughput = tuple(dict.fromkeys(listed))
        return latency, accuracy, throughput

    def _latency(self) -> LatencyProtocol:
        if "latency" not in self.entries:
            return LatencyProtocol()
        fields = self.entries["latency"].mapping(BELOW["latency"])
        protocol, until = LatencyProtocol(), read_until(fields)
        rounds = until.most if until else protocol.rounds
        if until is None and "rounds" in fields:
            rounds = fields["rounds"].whole(1, MAX_ROUNDS)
        images, warmup_images = (
            fields[name].whole(1, MAX_IMAGES) if name in fields else default
            for name, default in (
                ("images", protocol.images),
                ("warmup_images", protocol.warmup_images),
            )
        )
        return LatencyProtocol(rounds, warmup_images, images, until)

    def _serving(self) -> ServingProtocol:
        if "serving" not in self.entries:
            return ServingProtocol()
        fields = self.entries["serving"].mapping(BELOW["serving"], ("arrivals",))
        asked = ServingProtocol()
        if "arrivals" in fields:
            rates = [
                value.number(MIN_ARRIVALS_PER_S, MAX_REQUESTS)
                for value in fields["arrivals"].items()
            ]
            asked = replace(asked, arrivals=tuple(dict.fromkeys(rates)))
        if "seconds" in fields:
            asked = replace(asked, seconds=fields["seconds"].number(MIN_SERVING_S, MAX_WAIT_S))
        expected = max(asked.arrivals, default=0.0) * asked.seconds
        if expected > MAX_REQUESTS:
            self.entries["serving"].problem(
                f"about {expected:,.0f} requests in a round",
                f"arrivals x seconds of at most {MAX_REQUESTS:,}",
            )
        return asked

    def _energy(self) -> EnergyProtocol:
        if "energy" not in self.entries:
            return EnergyProtocol()
        fields = self.entries["energy"].mapping(BELOW["energy"])
        return EnergyProtocol(
            **{name: value.number(0.0, MAX_WAIT_S) for name, value in fields.items()}
        )

    def _calibration(self, datasets: Sequence[tuple[Value, Dataset]]) -> CalibrationSet | None:
        if "calibration" not in self.entries:
            return None
        given = self.entries["calibration"]
        return read_calibration(given, datasets, self.base, may_download=self.may_download)

    def _borrowing(self, devices: Sequence[str] | None) -> Borrowing | None:
        """Return the device that accuracy is borrowed from; None if there is none, or a problem."""
        if "accuracy" not in self.entries:
            return None
        fields = self.entries["accuracy"].mapping(BELOW["accuracy"], ("borrow",))
        sample = fields["sample"].whole(1, MAX_IMAGES) if "sample" in fields else Borrowing.sample
        if "borrow" not in fields:
            return None
        lender = _device(fields["borrow"], devices)
        if fields["borrow"].node.value == ANY:
            fields["borrow"].problem(
                f"{ANY}, which may be any of the devices", "the name of one device, such as cuda"
            )
        return Borrowing(lender, sample)

    def _baseline(self, names: Sequence[str]) -> str | None:
        if "baseline" not in self.entries:
            return None
        return self.entries["baseline"].choice(names, "model")

    def _exclude(self, grid: Grid) -> tuple[Mapping[str, str], ...]:
        if "exclude" not in self.entries:
            return ()
        axes = {
            "model": [model.name for model in grid.models],
            "dataset": [dataset.label for dataset in grid.datasets],
            "device": grid.devices,
            "runtime": grid.runtimes,
            "precision": grid.precisions,
            "threads": [str(count) for count in grid.threads],
        }
        excluded = []
        for value in self._items("exclude"):
            fields = value.mapping(BELOW["exclude"])
            excluded.append({axis: v.choice(axes[axis], axis) for axis, v in fields.items()})
            if value.is_mapping and not value.node.value:
                value.problem("an empty mapping", "at least one axis: " + ", ".join(axes))
        return tuple(excluded)


def _device(value: Value, devices: Sequence[str] | None) -> str:
    """Return a device of this machine; or, for a cluster, a name that a node could have."""
    if devices is not None:
        if value.is_scalar and value.node.value in ("gpu", CUDA) and CUDA not in devices:
            called = "" if value.node.value == CUDA else f", which grids call {CUDA}"
            value.problem(
                f"{value.node.value}{called}: this machine has none",
                f"{', '.join(devices)}{_OF_NODES}",
            )
            return devices[0]
        return value.choice(devices, "device", _OF_NODES)
    name = value.text()
    if name and not SLUG.fullmatch(name):
        value.problem(f"{name!r} is not a device name", f"any, cpu, cuda, or {SLUG_RULE}")
    return name
