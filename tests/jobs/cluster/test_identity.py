"""What a machine is, from made device trees and an NVML double: CI has no such hardware."""

# ruff: noqa: N802 - the double has pynvml's names

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.boards import BOARDS, build_board

from jobs.cluster.identity import Identity, gpu_slug, identify
from jobs.common.errors import UsageError
from jobs.machine.registration import Registration


class Library:
    """A pynvml with GPUs of these names."""

    class NVMLError(Exception):
        """What pynvml raises."""

    class NVMLError_LibraryNotFound(NVMLError):  # noqa: N801, N818
        """Where there is no driver."""

    def __init__(self, *names: str | bytes, failure: type[Exception] | None = None) -> None:
        self.names, self.failure = names, failure

    def nvmlInit(self) -> None:
        """Start, or fail as told."""
        if self.failure:
            raise self.failure("Driver Not Loaded")

    def nvmlDeviceGetCount(self) -> int:
        """How many."""
        return len(self.names)

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:
        """Its handle is its number."""
        return index

    def nvmlDeviceGetName(self, handle: int) -> str | bytes:
        """Its name."""
        return self.names[handle]


def no_nvml() -> Any:
    """As where nvidia-ml-py is not installed."""
    raise ModuleNotFoundError("pynvml")


def jetson(root: Path, model: str, release: str | None = "R36 (release), REVISION: 4.3") -> Path:
    """A tree with the files that a Jetson has."""
    (root / "proc/device-tree").mkdir(parents=True)
    (root / "proc/device-tree/model").write_bytes(model.encode() + b"\0")
    if release:
        (root / "etc").mkdir()
        text = f"# {release}, GCID: 38968081, BOARD: generic, EABI: aarch64\n"
        (root / "etc/nv_tegra_release").write_text(text)
    return root


@pytest.mark.parametrize(
    ("model", "slug"),
    [
        ("NVIDIA Jetson Orin Nano Developer Kit", "jetson-orin-nano"),
        ("NVIDIA Jetson Orin Nano Engineering Reference Developer Kit Super", "jetson-orin-nano"),
        ("NVIDIA Orin NX Developer Kit", "jetson-orin-nx"),
        ("NVIDIA Jetson Orin NX Engineering Reference Developer Kit", "jetson-orin-nx"),
        ("NVIDIA Jetson AGX Orin Developer Kit", "jetson-agx-orin"),
        ("NVIDIA Jetson Xavier NX Developer Kit", "jetson-xavier-nx"),
        ("Jetson-AGX", "jetson-agx-xavier"),
        ("NVIDIA Jetson Nano Developer Kit", "jetson-nano"),
        ("NVIDIA Jetson AGX Thor Developer Kit", "jetson-agx-thor"),
        ("Acme Carrier 7", "jetson-acme-carrier-7"),
    ],
)
def test_a_jetson_is_told_by_its_device_tree(model: str, slug: str, tmp_path: Path) -> None:
    """And is one CUDA device, whatever NVML says of it."""
    found = identify(jetson(tmp_path, model), lambda: Library("Orin (nvgpu)"))
    assert found == Identity("cuda", {slug: (0,)}, model, "36.4.3")
    assert found.is_jetson


@pytest.mark.parametrize(
    ("board", "slug", "l4t"),
    [
        ("orin-nano", "jetson-orin-nano", "36.4.3"),
        ("orin-nx", "jetson-orin-nx", "36.4.7"),
        ("agx-orin", "jetson-agx-orin", "39.2.0"),
        ("xavier-nx", "jetson-xavier-nx", "35.6.0"),
        ("thor", "jetson-agx-thor", "39.2.0"),
    ],
)
def test_boards_are_told_by_their_trees(tmp_path: Path, board: str, slug: str, l4t: str) -> None:
    """Also where NVML finds a GPU of its own name, as on JetPack 7.2."""
    found = identify(build_board(tmp_path, BOARDS[board]), lambda: Library("NVIDIA Thor"))
    assert (list(found.devices), found.l4t, found.is_jetson) == ([slug], l4t, True)


def test_a_jetson_without_its_release_file(tmp_path: Path) -> None:
    """The device tree alone is enough; a board that names no Jetson is none."""
    named = jetson(tmp_path / "a", "NVIDIA Jetson Orin Nano Developer Kit", None)
    assert identify(named, no_nvml).devices == {"jetson-orin-nano": (0,)}
    assert identify(named, no_nvml).l4t is None
    other = jetson(tmp_path / "b", "Raspberry Pi 5 Model B Rev 1.0", None)
    assert identify(other, no_nvml) == Identity("cpu", {"cpu": (0,)})


@pytest.mark.parametrize(
    ("name", "slug"),
    [
        ("NVIDIA GeForce RTX 4090", "rtx-4090"),
        ("NVIDIA GeForce RTX 4090 Laptop GPU", "rtx-4090-laptop"),
        ("NVIDIA GeForce RTX 4070 Ti SUPER", "rtx-4070-ti-super"),
        ("NVIDIA H100 PCIe", "h100"),
        ("NVIDIA H100 80GB HBM3", "h100"),
        ("NVIDIA H100 NVL", "h100"),
        ("NVIDIA A100-SXM4-40GB", "a100"),
        ("NVIDIA RTX A6000", "rtx-a6000"),
        ("NVIDIA RTX 6000 Ada Generation", "rtx-6000-ada"),
        ("Quadro RTX 6000", "quadro-rtx-6000"),
        ("Tesla T4", "t4"),
        ("NVIDIA L4", "l4"),
        ("GPU", "gpu"),
    ],
)
def test_the_slug_of_a_gpu(name: str, slug: str) -> None:
    """Model alone: makers, brands and memory are left out."""
    assert gpu_slug(name) == slug


def test_gpus_are_counted_by_name(tmp_path: Path) -> None:
    """Equal ones together, others apart; older releases of nvidia-ml-py give bytes."""
    library = Library("NVIDIA GeForce RTX 4090", b"NVIDIA H100 PCIe", "NVIDIA GeForce RTX 4090")
    found = identify(tmp_path, lambda: library)
    assert found.kind == "cuda"
    assert found.devices == {"rtx-4090": (0, 2), "h100": (1,)}
    assert found.accelerator == "NVIDIA GeForce RTX 4090, NVIDIA H100 PCIe"
    assert not found.is_jetson


def test_a_machine_without_a_gpu(tmp_path: Path) -> None:
    """Where one may be there unseen, it is said why."""
    bare = Identity("cpu", {"cpu": (0,)})
    assert identify(tmp_path, no_nvml) == bare
    assert identify(tmp_path, Library) == bare
    missing = Library(failure=Library.NVMLError_LibraryNotFound)
    assert identify(tmp_path, lambda: missing) == bare
    broken = Library(failure=Library.NVMLError)
    assert identify(tmp_path, lambda: broken).note == "NVML: Driver Not Loaded"
    (tmp_path / "proc/driver/nvidia").mkdir(parents=True)
    (tmp_path / "proc/driver/nvidia/version").touch()
    assert "nvidia-ml-py is not installed" in identify(tmp_path, no_nvml).note


def test_the_double_has_nothing_that_pynvml_lacks() -> None:
    """Held against the real package."""
    pynvml = pytest.importorskip("pynvml", reason="the extra nvidia is not installed")
    for name in (name for name in vars(Library) if name.startswith(("nvml", "NVML"))):
        assert hasattr(pynvml, name)


def test_another_name() -> None:
    """--device names all devices of a machine; words that a grid uses otherwise are refused."""
    gpus = Identity("cuda", {"rtx-4090": (0, 2), "h100": (1,)})
    assert gpus.renamed("lab-gpu").devices == {"lab-gpu": (0, 1, 2)}
    assert Identity("cpu", {"cpu": (0,)}).renamed("cpu").devices == {"cpu": (0,)}
    for name, message in {
        "any": "has another meaning",
        "cuda": "has another meaning",
        "cpu": "has another meaning",
        "RTX 4090": "is not a valid device name; allowed: lower-case",
        "x" * 64: "at most 63",
        "a,b": "not a valid",
    }.items():
        with pytest.raises(UsageError, match=message):
            gpus.renamed(name)


def test_a_registration_travels_as_text() -> None:
    """Through the environment, unchanged."""
    registered = Identity("cuda", {"rtx-4090": (0, 2)}, "NVIDIA GeForce RTX 4090").registration("n")
    assert Registration.read(registered.text()) == registered
