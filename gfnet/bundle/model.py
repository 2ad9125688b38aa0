"""A bundle as a model: what it says of itself, and its stages on engines."""

from __future__ import annotations

import torch

from gfnet.bundle.description import describe_bundle, stages_by_exit
from gfnet.bundle.engines import graph_engine
from gfnet.bundle.errors import BundleError
from gfnet.bundle.reader import Bundle
from gfnet.bundle.stages import BundleRuntime, BundleStage
from gfnet.bundle.support import REFERENCE_RUNTIME, impossible_for_bundle
from gfnet.config import EXIT_RULES
from gfnet.float32 import refuse_tf32
from gfnet.processors import usable_processors
from gfnet.runtimes.availability import UnavailableError, unavailable

_REFERENCE_DEVICE = "cpu"


class BundleModel:
    """A bundle with some of its exits enabled, under an exit rule, for one kind of device.

    Args:
        bundle: checked by `load_bundle`.
        exit_blocks: enable only these of its exits; None enables all.
        exit_rule: of gfnet.EXIT_RULES; None: the bundle's own.
        device: its kind as torch names it: `cpu`, `cuda`.

    Attributes:
        metadata: as of a checkpoint.
        config: its exits and classes.
        exit_rule: by which images exit.

    Raises:
        BundleError: it has no such exit, or gives no score for the rule `gate`.
    """

    def __init__(
        self,
        bundle: Bundle,
        *,
        exit_blocks: tuple[int, ...] | None = None,
        exit_rule: str | None = None,
        device: str = "cpu",
    ) -> None:
        self.metadata = describe_bundle(bundle.manifest, exit_blocks, bundle.where)
        self.config = self.metadata.config
        self.exit_rule = exit_rule or self.config.default_rule
        if self.exit_rule == "gate" and not self.config.has_gates:
            raise BundleError(
                f"{bundle.where}: its stages give no score for the exit rule gate; rules:"
                f" {', '.join(EXIT_RULES[1:])}"
            )
        self._bundle = bundle
        self._device = device
        self._built: dict[tuple[str, str, str, int], BundleRuntime] = {}

    def runtime(
        self, name: str, *, threads: int = 0, precision: str | None = None
    ) -> BundleRuntime:
        """Put the bundle on an engine; the same one again for the same arguments.

        Args:
            name: of gfnet.RUNTIMES.
            threads: of the CPU, for this whole process; 0: as many as the process may use.
            precision: that of the graphs (None), or one that the engine lowers them to.

        Raises:
            UnavailableError: the engine or the precision is not available here for bundles.
            WrongEngineError: the engine is installed, but what was built is not what was asked for.
        """
        graph_precision = self._bundle.manifest.precision
        precision = precision or graph_precision
        device = self._device
        reason = impossible_for_bundle(name, precision, device, graph_precision)
        # What is installed does not depend on a precision.
        if reason := reason or unavailable(name, "float32", device):
            raise UnavailableError(reason)
        threads = threads or usable_processors()
        torch.set_num_threads(threads)
        refuse_tf32()
        return self._on(name, device, precision, threads)

    def is_built(self, name: str, *, threads: int, precision: str) -> bool:
        """Return whether `runtime` has built this engine already."""
        return (name, self._device, precision, threads or usable_processors()) in self._built

    def reference(self, *, threads: int = 0) -> BundleRuntime:
        """Return what other engines are compared with: the graphs in ONNX Runtime on the CPU."""
        if reason := unavailable(REFERENCE_RUNTIME, "float32", _REFERENCE_DEVICE):
            raise UnavailableError(f"the reference of a bundle is missing: {reason}")
        precision = self._bundle.manifest.precision
        threads = threads or usable_processors()
        return self._on(REFERENCE_RUNTIME, _REFERENCE_DEVICE, precision, threads)

    def _on(self, name: str, device: str, precision: str, threads: int) -> BundleRuntime:
        key = name, device, precision, threads
        if key not in self._built:
            self._built[key] = self._build(*key)
        return self._built[key]

    def _build(self, name: str, device: str, precision: str, threads: int) -> BundleRuntime:
        manifest, files = self._bundle.manifest, self._bundle.files
        engine = graph_engine(name, device, precision, threads, manifest.precision)
        groups = stages_by_exit(manifest, self.config.exit_blocks)
        stages = [
            BundleStage(
                [(engine(files[entry.file], entry), entry) for entry in group],
                self.exit_rule,
                is_last=group is groups[-1],
            )
            for group in groups
        ]
        is_on_cpu = device == _REFERENCE_DEVICE
        return BundleRuntime(stages, self.config, self.exit_rule, is_on_cpu=is_on_cpu)
