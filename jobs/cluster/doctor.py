"""The doctor's checks of one machine: problems that would show later, each with its remedy."""

from __future__ import annotations

import shutil
import stat
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from platform import python_version

import psutil

from jobs.cluster.identity import Identity, identify
from jobs.cluster.launch import find_installed, store_bytes
from jobs.cluster.node_state import RAY_FOLDER, ray_folder, read_state
from jobs.cluster.ports import Exposure, find_exposure
from jobs.cluster.token import DEFAULT_FILE, HOW_TO_MAKE, find_token
from jobs.common.errors import JobsError
from jobs.common.packages import HOME, PACKAGES, PackageOrigin, find_origins
from jobs.common.text import fold
from jobs.machine.clocks import are_clocks_locked, governors
from jobs.machine.devices import CUDA, find_gpu_fault, has_cuda
from jobs.machine.power.discovery import VARIABLE, find_sources
from jobs.machine.power_mode import power_mode
from jobs.machine.sensors import AbsentError

OK, WARN, FAIL = "ok", "warn", "fail"
ROOT = Path("/")
LEAST_DISK_BYTES = 2 * 2**30
LEAST_PYTHON = (3, 10)
OLDEST_L4T = 36
"""JetPack 6. Older releases ship a Python that no current Ray supports."""


@dataclass(frozen=True)
class Check:
    """The result of one check.

    Attributes:
        what: the subject of the check.
        level: `ok`, `warn` or `fail`.
        found: what was found, as text.
        remedy: what to do; empty if nothing is needed.
    """

    what: str
    level: str
    found: str
    remedy: str = ""


@dataclass(frozen=True)
class Here:
    """Facts of this machine that the checks read; test doubles in tests.

    Attributes:
        identity: its devices.
        root: root of the kernel's files.
        shared_memory_bytes, disk_bytes: free space.
        memory_bytes: total memory.
        exposure: returns where the ports of this machine's node answer, and the address of the
            node; None if no node runs.
        sees_gpu: returns whether torch sees a GPU; called only if there should be one.
        gpu_fault: returns why torch cannot compute on the GPU that it sees; empty if it can.
        origins: returns where gfjobs' own packages are found; empty: not looked for.
    """

    identity: Identity
    root: Path
    shared_memory_bytes: int | None
    disk_bytes: int
    memory_bytes: int
    sees_gpu: Callable[[], bool]
    exposure: Callable[[], tuple[str, Exposure] | None] = lambda: None
    gpu_fault: Callable[[], str] = lambda: ""
    origins: Callable[[], Sequence[PackageOrigin]] = list

    @classmethod
    def look(cls) -> Here:
        """Collect the facts of the real machine."""
        shared = Path("/dev/shm")  # noqa: S108 - where Ray's object store lies
        return cls(
            identity=identify(),
            root=ROOT,
            shared_memory_bytes=shutil.disk_usage(shared).free if shared.is_dir() else None,
            disk_bytes=shutil.disk_usage(_ray_disk()).free,
            memory_bytes=psutil.virtual_memory().total,
            sees_gpu=has_cuda,
            exposure=_look_at_ports,
            gpu_fault=find_gpu_fault,
            origins=partial(find_origins, Path.cwd()),
        )


def check_here(here: Here) -> Iterator[Check]:
    """Run all checks that need no other machine."""
    yield _system(here.identity)
    yield _python()
    yield _packages()
    yield from _names(here.origins())
    yield _token()
    yield from _ports(here)
    yield from check_hardware(here)


def check_hardware(here: Here) -> Iterator[Check]:
    """Run the checks of hardware that labels do not cover: the doctor has each node run them."""
    yield _device(here)
    yield _disk(here)
    yield _shared_memory(here)
    yield _clocks(here)
    yield _power(here)


def has_failed(checks: Iterable[Check]) -> bool:
    """Return whether any check failed."""
    return any(check.level == FAIL for check in checks)


def _system(identity: Identity) -> Check:
    names = ", ".join(identity.devices)
    if identity.l4t and int(identity.l4t.split(".")[0]) < OLDEST_L4T:
        return Check(
            "machine",
            FAIL,
            f"{names}, with the system of JetPack 5 or older (L4T {identity.l4t})",
            "install JetPack 6 or newer: no current Ray supports the older one's Python",
        )
    if identity.note:
        return Check("machine", WARN, f"{names}; {identity.note}", "pip install 'gfjobs[nvidia]'")
    l4t = f" (L4T {identity.l4t})" if identity.l4t else ""
    return Check("machine", OK, f"{names}: {identity.accelerator or 'no GPU'}{l4t}")


def _python() -> Check:
    if sys.version_info[:2] >= LEAST_PYTHON:
        return Check("Python", OK, python_version())
    least = ".".join(map(str, LEAST_PYTHON))
    return Check("Python", FAIL, python_version(), f"make an environment with {least} or newer")


def _packages() -> Check:
    found = {name: find_installed(name) for name in ("gfjobs", "ray", "torch")}
    missing = [name for name, version in found.items() if version is None]
    text = ", ".join(f"{name} {version or 'missing'}" for name, version in found.items())
    if missing:
        return Check("packages", FAIL, text, f"pip install {' '.join(missing)}")
    return Check("packages", OK, text)


def _names(origins: Sequence[PackageOrigin]) -> Iterator[Check]:
    """Check that the names of our packages, which are common words, are ours here."""
    is_well = True
    for origin in origins:
        if not origin.is_own:
            yield Check("names", FAIL, *origin.describe_foreign())
            is_well = False
        for found, remedy in origin.describe_risks() if origin.is_own else ():
            yield Check("names", WARN, found, remedy)
            is_well = False
    if origins and is_well:
        yield Check("names", OK, f"{', '.join(PACKAGES)} are gfjobs' own, in {HOME}")


def _device(here: Here) -> Check:
    if here.identity.kind != CUDA:
        return Check("device", OK, "torch computes on the processor")
    found = "torch sees no GPU"
    if here.sees_gpu():
        if not (fault := here.gpu_fault()):
            return Check("device", OK, "torch sees the GPU")
        found = f"torch sees the GPU and cannot compute on it ({fault})"
    remedy = "install a torch that is built for it and its CUDA"
    if here.identity.is_jetson:
        remedy = (
            "use the torch that is built for this board and JetPack: make the environment with"
            " --system-site-packages, and install gfjobs without replacing torch (docs/nodes.md)"
        )
    return Check("device", FAIL, found, remedy)


def _token() -> Check:
    found = find_token()
    if found is None:
        return Check(
            "token",
            WARN,
            "none: this machine cannot be a node of a cluster",
            f"{HOW_TO_MAKE}, once, on the head; copy ~/{DEFAULT_FILE} from there",
        )
    path = Path(found[1])
    if path.is_file() and path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        return Check("token", WARN, f"{path} can be read by other users", f"chmod 600 {path}")
    return Check("token", OK, f"from {found[1]}")


def _look_at_ports() -> tuple[str, Exposure] | None:
    state = read_state()
    process = state.process() if state else None
    return (state.host, find_exposure(process)) if state and process else None


def _ports(here: Here) -> Iterator[Check]:
    """Check the ports of this machine's node, if one runs."""
    if (found := here.exposure()) is None:
        return
    host, exposure = found
    if exposure.port is None:
        yield Check("ports", OK, "this machine alone reaches its node")
        return
    others = [address for address in exposure.addresses if address != host]
    if others:
        yield Check(
            "ports",
            WARN,
            f"those of Ray also answer at {', '.join(others)}: whoever reaches one can end this"
            " node, without the token",
            "close them with the firewall: examples/gfjobs-node.nft (docs/security.md)",
        )
    else:
        yield Check("ports", OK, f"those of Ray answer at {host} alone")


def _ray_disk() -> Path:
    """Return the folder whose disk Ray uses, also if Ray cannot start there."""
    try:
        folder = ray_folder()
    except JobsError:
        return Path(tempfile.gettempdir())
    return folder if folder.is_dir() else Path(tempfile.gettempdir())


def _disk(here: Here) -> Check:
    try:
        text = f"{here.disk_bytes / 2**30:.1f} GiB free in {ray_folder()}"
    except JobsError as err:
        return Check("disk", FAIL, str(err), f"export {RAY_FOLDER}=/tmp")
    if here.disk_bytes < LEAST_DISK_BYTES:
        least = LEAST_DISK_BYTES / 2**30
        return Check("disk", FAIL, text, f"Ray needs {least:.0f} GiB there; make room")
    return Check("disk", OK, text)


def _shared_memory(here: Here) -> Check:
    needed = store_bytes(here.memory_bytes)
    if here.shared_memory_bytes is None:
        return Check("shared memory", WARN, "no /dev/shm", "Ray will be slower; run it on Linux")
    text = f"{here.shared_memory_bytes / 2**20:.0f} MiB free"
    if here.shared_memory_bytes < needed:
        remedy = (
            f"the object store needs {needed // 2**20} MiB, and will be on disk; in Docker, use"
            " --shm-size=4g"
        )
        return Check("shared memory", WARN, text, remedy)
    return Check("shared memory", OK, text)


def _clocks(here: Here) -> Check:
    is_jetson = here.identity.is_jetson
    mode = f", {_mode(here.root)}" if is_jetson else ""
    try:
        named = ", ".join(sorted(governors(here.root)))
        is_locked = are_clocks_locked(here.root, is_gpu=is_jetson)
    except AbsentError as err:
        return Check("clocks", WARN, f"cannot be read ({err}){mode}", "results will say so too")
    if is_jetson:
        text = f"jetson_clocks {'on' if is_locked else 'off'}, governor {named}{mode}"
    else:
        text = f"{'locked, ' if is_locked else ''}governor {named}"
    if is_locked:
        return Check("clocks", OK, text)
    command = "sudo jetson_clocks" if is_jetson else "sudo cpupower frequency-set -g performance"
    return Check("clocks", WARN, f"{text}: clocks move while cells are timed", command)


def _mode(root: Path) -> str:
    try:
        return f"power mode {power_mode(root)}"
    except AbsentError as err:
        return f"power mode unknown ({err})"


def _power(here: Here) -> Check:
    choice = find_sources(here.identity.kind, here.root)
    if choice.name:
        return Check("power", OK, choice.name)
    return Check(
        "power",
        WARN,
        choice.note.removeprefix("power: "),
        f"energy will be NULL; make a sensor readable (docs/energy.md), or set {VARIABLE}=meter and"
        " import a wall meter's log",
    )


def checks_table(checks: Iterable[Check]) -> Iterator[str]:
    """Yield one line per check and one per remedy; long ones are wrapped."""
    for check in checks:
        found = " ".join(f"{check.what}: {check.found}".split())
        yield fold(found, start=f"{check.level:4}  ", indent=" " * 6)
        if check.remedy:
            yield fold(" ".join(check.remedy.split()), start="      -> ", indent=" " * 9)
