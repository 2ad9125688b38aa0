"""The doctor's checks of one machine, on made machines."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from platform import python_version

import pytest
from support.boards import BOARDS, build_board, put

from jobs.cluster.doctor import FAIL, OK, WARN, Here, check_here, checks_table, has_failed
from jobs.cluster.identity import Identity, identify
from jobs.cluster.labels import Facts
from jobs.cluster.launch import find_installed
from jobs.cluster.ports import Exposure
from jobs.cluster.token import find_token
from jobs.cluster.versions import Versions, find_clashes
from jobs.common.packages import HOME, PackageOrigin
from jobs.common.version import gfjobs_version

GIB = 2**30
HERE = Facts(
    "cpu", "bench", gfjobs_version(), python_version(), find_installed("ray"), "2.9", power="rapl"
)
NANO = Identity("cuda", {"jetson-orin-nano": (0,)}, "NVIDIA Jetson Orin Nano", "36.4.3")


@pytest.fixture(autouse=True)
def token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A token in a file of this user."""
    path = tmp_path / "token"
    path.write_text("0" * 64)
    path.chmod(0o600)
    monkeypatch.delenv("RAY_AUTH_TOKEN", raising=False)
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(path))
    return path


def machine(root: Path, identity: Identity = NANO, governor: str = "performance") -> Here:
    """A board on which all is well."""
    file = root / "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(governor + "\n")
    if governor == "performance":
        gpu = root / "sys/class/devfreq/17000000.gpu"
        gpu.mkdir(parents=True, exist_ok=True)
        for name in ("min_freq", "max_freq"):
            (gpu / name).write_text("624750000\n")
    sensor = {"name": "ina3221", "in1_label": "VDD_IN", "in1_input": "5000", "curr1_input": "900"}
    folder = root / "sys/class/hwmon/hwmon1"
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in sensor.items():
        (folder / name).write_text(text + "\n")
    return Here(identity, root, 4 * GIB, 9 * GIB, 4 * GIB, sees_gpu=lambda: True)


def test_clocks_that_jetson_clocks_has_locked(tmp_path: Path) -> None:
    """It leaves the governor as it was: frequencies tell. The GPU's count as the processors' do."""
    here = machine(tmp_path, governor="schedutil")
    gpu = tmp_path / "sys/class/devfreq/17000000.gpu"
    gpu.mkdir(parents=True)
    for folder, least, most in (
        (tmp_path / "sys/devices/system/cpu/cpu0/cpufreq", "scaling_min_freq", "scaling_max_freq"),
        (gpu, "min_freq", "max_freq"),
    ):
        assert levels(here)["clocks"] == WARN
        for name in (least, most):
            (folder / name).write_text("1510400\n")
    (told,) = [check for check in check_here(here) if check.what == "clocks"]
    unknown = "power mode unknown (no nvpmodel)"
    assert (told.level, told.found) == (OK, f"jetson_clocks on, governor schedutil, {unknown}")


@pytest.mark.parametrize(
    ("board", "slug", "mode", "power"),
    [
        ("orin-nano", "jetson-orin-nano", "MAXN_SUPER (2)", "ina3221: VDD_IN"),
        ("thor", "jetson-agx-thor", "120W (1)", "ina238: VIN"),
    ],
)
def test_a_boards_mode_clocks_and_power_are_told(
    tmp_path: Path, board: str, slug: str, mode: str, power: str
) -> None:
    """Before jetson_clocks and after; the power's source by its rail."""
    root = build_board(tmp_path, BOARDS[board])
    here = replace(machine(tmp_path / "other"), root=root, identity=identify(root))
    assert list(here.identity.devices) == [slug]
    told = {check.what: check for check in check_here(here)}
    assert told["clocks"].found == (
        f"jetson_clocks off, governor schedutil, power mode {mode}: clocks move while cells are"
        " timed"
    )
    assert (told["clocks"].remedy, told["power"].found) == ("sudo jetson_clocks", power)
    for folder in root.glob("sys/devices/system/cpu/cpu*/cpufreq"):
        put(folder / "scaling_min_freq", 1_728_000)
    for folder in root.glob("sys/class/devfreq/*"):
        put(folder / "min_freq", (folder / "max_freq").read_text().strip())
    (clocks,) = [check for check in check_here(here) if check.what == "clocks"]
    assert (clocks.level, clocks.found) == (
        OK,
        f"jetson_clocks on, governor schedutil, power mode {mode}",
    )


def levels(here: Here) -> dict[str, str]:
    """Each check's level."""
    return {check.what: check.level for check in check_here(here)}


def test_power_that_cannot_be_read_is_told_with_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing else depends on it: a warning."""
    assert [c.found for c in check_here(machine(tmp_path)) if c.what == "power"] == [
        "ina3221: VDD_IN"
    ]
    monkeypatch.setenv("GFJOBS_POWER", "none")
    (told,) = [check for check in check_here(machine(tmp_path)) if check.what == "power"]
    assert (told.level, told.found) == (WARN, "switched off by GFJOBS_POWER=none")
    assert "GFJOBS_POWER=meter" in told.remedy


def test_a_machine_on_which_all_is_well(tmp_path: Path) -> None:
    """Every line is ok and has no remedy."""
    checks = list(check_here(machine(tmp_path)))
    assert {check.level for check in checks} == {OK}
    assert not any(check.remedy for check in checks)
    assert not has_failed(checks)
    assert next(checks_table(checks)) == (
        "ok    machine: jetson-orin-nano: NVIDIA Jetson Orin Nano (L4T 36.4.3)"
    )


@pytest.mark.parametrize(
    ("host", "exposure", "level", "said"),
    [
        ("127.0.0.1", Exposure((), None), OK, "this machine alone reaches its node"),
        ("10.0.0.1", Exposure(("10.0.0.1",), 11000), OK, "those of Ray answer at 10.0.0.1 alone"),
        ("10.0.0.1", Exposure((), 11000), OK, "those of Ray answer at 10.0.0.1 alone"),
        (
            "10.0.0.1",
            Exposure(("10.0.0.1", "192.168.1.5", "fe80::1%eth0"), 11000),
            WARN,
            "those of Ray also answer at 192.168.1.5, fe80::1%eth0: whoever",
        ),
    ],
)
def test_addresses_at_which_a_node_should_not_answer(
    tmp_path: Path, host: str, exposure: Exposure, level: str, said: str
) -> None:
    """Ray listens on all; a machine without a node has no such line."""
    here = replace(machine(tmp_path), exposure=lambda: (host, exposure))
    (told,) = [check for check in check_here(here) if check.what == "ports"]
    assert told.level == level
    assert told.found.startswith(said)
    assert ("examples/gfjobs-node.nft" in told.remedy) == (level == WARN)
    assert "ports" not in levels(machine(tmp_path))


def test_what_is_wrong_is_named_with_its_remedy(tmp_path: Path, token: Path) -> None:
    """One at a time."""
    well = machine(tmp_path)
    assert levels(replace(well, sees_gpu=lambda: False))["device"] == FAIL
    assert levels(replace(well, disk_bytes=GIB))["disk"] == FAIL
    assert levels(replace(well, shared_memory_bytes=2**20))["shared memory"] == WARN
    assert levels(replace(well, shared_memory_bytes=None))["shared memory"] == WARN
    assert levels(replace(well, root=tmp_path / "none"))["clocks"] == WARN
    old = replace(NANO, l4t="35.4.1")
    assert levels(replace(well, identity=old))["machine"] == FAIL
    unseen = Identity("cpu", {"cpu": (0,)}, note="nvidia-ml-py is not installed")
    assert levels(replace(well, identity=unseen))["machine"] == WARN
    assert levels(machine(tmp_path, governor="schedutil"))["clocks"] == WARN
    table = checks_table(check_here(machine(tmp_path, governor="schedutil")))
    lines = [line for check in table for line in check.splitlines()]
    # A path has no place to be broken at, and that of a temporary folder may be long.
    assert max(len(line) for line in lines if str(tmp_path) not in line) <= 80
    assert "      -> sudo jetson_clocks" in lines
    token.chmod(0o644)
    assert levels(well)["token"] == WARN
    token.unlink()
    assert levels(well)["token"] == WARN


def test_a_torch_without_code_for_the_gpu(tmp_path: Path) -> None:
    """As that of another board's index: it sees the GPU, and fails at the first sum."""
    fault = "CUDA error: no kernel image is available for execution on the device"
    here = replace(machine(tmp_path), gpu_fault=lambda: fault)
    (told,) = [check for check in check_here(here) if check.what == "device"]
    assert (told.level, told.found) == (
        FAIL,
        f"torch sees the GPU and cannot compute on it ({fault})",
    )
    assert "built for this board and JetPack" in told.remedy


def test_names_that_other_packages_have(tmp_path: Path) -> None:
    """One that is imported fails; one that may come in the way is a warning."""
    own = [PackageOrigin(name, HOME / name / "__init__.py") for name in ("gfnet", "jobs")]
    well = replace(machine(tmp_path), origins=lambda: own)
    (told,) = [check for check in check_here(well) if check.what == "names"]
    assert (told.level, told.found) == (OK, f"gfnet, jobs, storage are gfjobs' own, in {HOME}")
    risky = replace(own[1], in_folder=tmp_path / "jobs", claimed_by=("batch-queue",))
    foreign = PackageOrigin("storage", tmp_path / "storage" / "__init__.py")
    missing = PackageOrigin("gfnet", None)
    here = replace(well, origins=lambda: [missing, risky, foreign])
    told_all = [check for check in check_here(here) if check.what == "names"]
    assert [check.level for check in told_all] == [FAIL, WARN, WARN, FAIL]
    assert all(check.remedy for check in told_all)
    assert told_all[0].found == f"gfnet is missing in {HOME}"
    assert told_all[3].found.startswith(f"storage is {foreign.imported}, not gfjobs' own")


def test_clashes_say_which_side_to_change() -> None:
    """A Jetson's Python stays; everything else follows the head."""
    here = Versions("3.10.12", "2.60.0", "0.2.0")
    assert find_clashes(here, here, is_jetson=False) == []
    assert find_clashes(here, Versions("3.10.12", "2.60.0", None), is_jetson=False) == []
    found = find_clashes(here, Versions("3.11.7", "2.59.0", "0.1.0"), is_jetson=False)
    assert [clash.what for clash in found] == ["Python", "Ray", "gfjobs"]
    assert found[0].remedy.startswith("change this node: make its environment with Python 3.11.7")
    assert found[2].remedy == "change this node: install gfjobs 0.1.0, from the head's checkout"
    (python,) = find_clashes(here, replace(here, python="3.11.7"), is_jetson=True)
    assert python.remedy.startswith("change the head: set it up with Python 3.10.12")


def test_a_token_is_found_where_ray_looks(tmp_path: Path) -> None:
    """The value, then the file that is named, then the one below home."""
    (tmp_path / ".ray").mkdir()
    (tmp_path / ".ray/auth_token").write_text("home\n")
    (tmp_path / "file").write_text("file")
    named = {"RAY_AUTH_TOKEN_PATH": str(tmp_path / "file")}
    assert find_token({}, tmp_path) == ("home", str(tmp_path / ".ray/auth_token"))
    assert find_token(named, tmp_path) == ("file", str(tmp_path / "file"))
    assert find_token(named | {"RAY_AUTH_TOKEN": "v"}, tmp_path) == ("v", "$RAY_AUTH_TOKEN")
    assert find_token({"RAY_AUTH_TOKEN_PATH": "/none"}, tmp_path) is None
    assert find_token({}, tmp_path / "file") is None
