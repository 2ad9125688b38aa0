"""Identity of a machine: slugs of its devices, from a Jetson's device tree or from NVML."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from jobs.common.errors import UsageError
from jobs.machine.devices import ANY, CPU, CUDA, SLUG, SLUG_RULE
from jobs.machine.registration import Registration

ROOT = Path("/")
"""Root of the kernel's files; a temporary tree in tests."""

# Words in the name of a module, the more specific first; carrier boards and kits add their own
# words around them.
_JETSONS = {
    "agx thor": "jetson-agx-thor",
    "orin nano": "jetson-orin-nano",
    "orin nx": "jetson-orin-nx",
    "agx orin": "jetson-agx-orin",
    "xavier nx": "jetson-xavier-nx",
    "agx xavier": "jetson-agx-xavier",
    "jetson agx": "jetson-agx-xavier",  # the name in its first kits
    "tx2": "jetson-tx2",
    "quill": "jetson-tx2",
    "jetson nano": "jetson-nano",
}
_MODEL = "proc/device-tree/model"
_L4T = "etc/nv_tegra_release"
_L4T_RELEASE = re.compile(r"R(\d+) \(release\), REVISION: ([\d.]+)")

# Parts of NVML's names other than the model: makers, brands, form factors, memory types and sizes.
_GPU_FILLER = re.compile(
    r"nvidia|geforce|tesla|gpu|generation|graphics|device|pcie|nvl|sxm\d*|hbm\d*e?|\d+gb"
)


@dataclass(frozen=True)
class Identity:
    """The devices of a machine.

    Attributes:
        kind: torch's name for its devices: `cpu` or `cuda`.
        devices: slug to the indices of such devices, in the order of the PCI bus.
        accelerator: the hardware's own name; None if there is only a processor.
        l4t: release of a Jetson's Linux, such as `36.4.3`; None elsewhere.
        note: why a GPU that may exist was not found; empty if there is no doubt.
    """

    kind: str
    devices: Mapping[str, tuple[int, ...]]
    accelerator: str | None = None
    l4t: str | None = None
    note: str = ""

    @property
    def is_jetson(self) -> bool:
        """Whether its GPU is that of a Jetson, which Ray does not detect."""
        return self.kind == CUDA and any(slug.startswith("jetson-") for slug in self.devices)

    def renamed(self, slug: str) -> Identity:
        """Return the same machine with all its devices under one name.

        Raises:
            UsageError: the name is not a slug, or has another meaning in a grid.
        """
        if not SLUG.fullmatch(slug):
            raise UsageError(f"--device {slug!r} is not a valid device name; allowed: {SLUG_RULE}")
        if slug in (ANY, CUDA) or (slug == CPU and self.kind == CUDA):
            raise UsageError(
                f"--device {slug} has another meaning in a grid: any is any device, cuda any GPU,"
                " cpu a machine without a GPU; choose another name"
            )
        numbers = tuple(sorted(number for each in self.devices.values() for number in each))
        return Identity(self.kind, {slug: numbers}, self.accelerator, self.l4t, self.note)

    def registration(self, name: str) -> Registration:
        """Return the registration that its workers inherit."""
        return Registration(name, self.kind, self.devices, self.accelerator)


def load_nvml() -> Any:
    """Import and return the module pynvml.

    Raises:
        ModuleNotFoundError: nvidia-ml-py is not installed.
    """
    import pynvml

    return pynvml


def identify(root: Path = ROOT, nvml: Callable[[], Any] = load_nvml) -> Identity:
    """Detect the devices of this machine.

    Args:
        root: root of the kernel's files.
        nvml: returns pynvml; a test double in tests.
    """
    model = _text(root / _MODEL)
    l4t = _l4t_release(_text(root / _L4T))
    words = re.sub(r"[^a-z0-9]+", " ", model.lower()).strip()
    if l4t or "jetson" in words:
        return Identity(CUDA, {_jetson_slug(words): (0,)}, model or "NVIDIA Jetson", l4t)
    names, note = _gpu_names(root, nvml)
    if not names:
        return Identity(CPU, {CPU: (0,)}, note=note)
    devices: dict[str, tuple[int, ...]] = {}
    for number, name in enumerate(names):
        devices[gpu_slug(name)] = (*devices.get(gpu_slug(name), ()), number)
    return Identity(CUDA, devices, ", ".join(dict.fromkeys(names)))


def gpu_slug(name: str) -> str:
    """Return a GPU's slug from its name in NVML: NVIDIA GeForce RTX 4090 is rtx-4090."""
    words = re.findall(r"[a-z0-9.]+", name.lower())
    kept = [word for word in words if not _GPU_FILLER.fullmatch(word)]
    return "-".join(kept or words)


def _jetson_slug(words: str) -> str:
    for part, slug in _JETSONS.items():
        if part in words:
            return slug
    kept = [word for word in words.split() if word not in ("nvidia", "jetson", "developer", "kit")]
    return "-".join(["jetson", *kept])[:63].strip("-")


def _gpu_names(root: Path, nvml: Callable[[], Any]) -> tuple[list[str], str]:
    """Return NVML's names of all NVIDIA GPUs; if none could be queried but may exist, why."""
    try:
        library = nvml()
    except ModuleNotFoundError:
        has_driver = (root / "proc/driver/nvidia/version").exists()
        return [], "nvidia-ml-py is not installed, so NVIDIA GPUs are not found" * has_driver
    try:
        library.nvmlInit()
        handles = map(library.nvmlDeviceGetHandleByIndex, range(library.nvmlDeviceGetCount()))
        return list(map(partial(_gpu_name, library), handles)), ""
    except library.NVMLError as err:
        is_missing = isinstance(err, getattr(library, "NVMLError_LibraryNotFound", ()))
        return [], "" if is_missing else f"NVML: {err}"


def _gpu_name(library: Any, handle: Any) -> str:
    name = library.nvmlDeviceGetName(handle)
    return str(name.decode() if isinstance(name, bytes) else name)  # bytes in older releases


def _l4t_release(text: str) -> str | None:
    found = _L4T_RELEASE.search(text)
    return f"{found[1]}.{found[2]}" if found else None


def _text(path: Path) -> str:
    """Return the content of a file, without the zero byte that ends texts of a device tree."""
    try:
        return path.read_text(errors="replace").strip("\0\n ")
    except OSError:
        return ""
