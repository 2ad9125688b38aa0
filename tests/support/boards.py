"""Jetson boards as trees of the kernel's files: the layout is theirs, the values are made up.

Layouts: Orin as in NVIDIA's Jetson Linux Developer Guide r36.4 ("Platform Power and Performance")
and its device trees; Thor as in that of r38 and r39, and in reports to jetson_stats (issues 711,
773, 885; pull requests 867 and 900); Xavier NX as in r35. INA3221 and INA238 as in the kernel's
Documentation/hwmon. What only root can read, such as debugfs, is left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

Chips = Mapping[str, Mapping[str, tuple[int, int]]]
"""INA3221 chips by address: mV and mA of each rail, three rails a chip."""

NANO_RAILS: Chips = {
    "1-0040": {"VDD_IN": (5000, 1200), "VDD_CPU_GPU_CV": (5000, 300), "VDD_SOC": (5000, 280)}
}
NX_RAILS: Chips = {
    "1-0040": {"VDD_IN": (4960, 1900), "VDD_CPU_GPU_CV": (4960, 800), "VDD_SOC": (4968, 344)}
}
AGX_RAILS: Chips = {
    "1-0040": {"VDD_GPU_SOC": (19000, 200), "VDD_CPU_CV": (19000, 60), "VIN_SYS_5V0": (5000, 900)},
    "1-0041": {"NC": (0, 0), "VDDQ_VDD2_1V8AO": (5000, 120), "NC ": (0, 0)},
}
AGX_XAVIER_RAILS: Chips = {
    "1-0040": {"GPU": (19000, 50), "CPU": (19000, 60), "SOC": (19000, 90)},
    "1-0041": {"CV": (19000, 0), "VDDRQ": (19000, 30), "SYS5V": (19000, 120)},
}
THOR_RAILS: Chips = {
    "2-0040": {
        "VDD_GPU": (12040, 640),
        "VDD_CPU_SOC_MSS": (12040, 960),
        "VIN_SYS_5V0": (5088, 1740),
    }
}


@dataclass(frozen=True)
class Board:
    """One kind of board.

    Attributes:
        model: in its device tree.
        release: the first line of nv_tegra_release.
        cpus: number of processors.
        modes: names of nvpmodel's modes by number.
        mode: what nvpmodel's status file says.
        devfreq: clock in Hz by device; with the least and the most.
        zones: thermal zones with millidegrees; None cannot be read.
        trips: kind and millidegrees of the trip points of each zone.
        cooling: cooling devices with their highest state; all are at 0.
        chips: INA3221.
        vin_uw: power that an INA238 reads; None if there is none.
        has_oc: whether it counts over-current events.
    """

    model: str
    release: str
    cpus: int
    modes: Mapping[int, str]
    mode: str
    devfreq: Mapping[str, tuple[int, int, int]]
    zones: Mapping[str, int | None]
    cooling: Mapping[str, int]
    chips: Chips
    trips: tuple[tuple[str, int], ...]
    vin_uw: int | None = None
    has_oc: bool = True


_ORIN_ZONES: Mapping[str, int | None] = {
    "cpu-thermal": 51_718,
    "gpu-thermal": 48_531,
    "cv0-thermal": -256_000,
    "cv1-thermal": None,
    "cv2-thermal": None,
    "soc0-thermal": 49_250,
    "soc1-thermal": 50_125,
    "soc2-thermal": 49_843,
    "tj-thermal": 51_718,
}
_ORIN_ALERTS = {
    "cpufreq-cpu0": 24,
    "devfreq-17000000.gpu": 10,
    "pwm-fan": 3,
    **{f"{part}-throttle-alert": 1 for part in ("cpu", "gpu", "cv0", "soc0", "soc1", "soc2")},
    "hot-surface-alert": 1,
}
_ORIN_TRIPS = (("active", 35_000), ("hot", 70_000), ("passive", 99_000), ("critical", 104_500))

BOARDS = {
    "orin-nano": Board(
        "NVIDIA Jetson Orin Nano Engineering Reference Developer Kit Super",
        "R36 (release), REVISION: 4.3",
        6,
        {0: "15W", 1: "25W", 2: "MAXN_SUPER", 3: "7W"},
        "pmode:0002\n",
        {
            "15340000.vic": (115_200_000, 115_200_000, 729_600_000),
            "17000000.gpu": (612_000_000, 306_000_000, 1_020_000_000),
        },
        _ORIN_ZONES,
        _ORIN_ALERTS,
        NANO_RAILS,
        _ORIN_TRIPS,
    ),
    "orin-nx": Board(
        "NVIDIA Jetson Orin NX Engineering Reference Developer Kit",
        "R36 (release), REVISION: 4.7",
        8,
        {0: "MAXN_SUPER", 1: "10W", 2: "15W", 3: "25W", 4: "40W"},
        "pmode:0003 fmode:quiet\n",
        {"17000000.gpu": (408_000_000, 306_000_000, 918_000_000)},
        _ORIN_ZONES,
        _ORIN_ALERTS,
        NX_RAILS,
        _ORIN_TRIPS,
    ),
    "agx-orin": Board(
        "NVIDIA Jetson AGX Orin Developer Kit",
        "R39 (release), REVISION: 2.0",
        12,
        {0: "MAXN", 1: "MODE_15W", 2: "MODE_30W", 3: "MODE_50W"},
        "pmode:0000\n",
        {
            "17000000.gpu": (1_300_500_000, 306_000_000, 1_300_500_000),
            "bwmgr": (3_199_000_000, 204_000_000, 3_199_000_000),
        },
        _ORIN_ZONES,
        _ORIN_ALERTS,
        AGX_RAILS,
        _ORIN_TRIPS,
    ),
    "xavier-nx": Board(
        "NVIDIA Jetson Xavier NX Developer Kit",
        "R35 (release), REVISION: 6.0",
        6,
        {0: "MODE_15W_2CORE", 2: "MODE_15W_6CORE", 8: "MODE_20W_6CORE"},
        "pmode:0002 fmode:quiet\n",
        {
            "15340000.vic": (115_200_000, 115_200_000, 601_600_000),
            "17000000.gv11b": (510_000_000, 114_750_000, 1_109_250_000),
        },
        {
            "CPU-therm": 44_500,
            "GPU-therm": 42_000,
            "AUX-therm": 41_500,
            "AO-therm": 41_500,
            "PMIC-Die": 100_000,
        },
        {"thermal-cpufreq-0": 20, "cpu-balanced": 9, "gpu-balanced": 9, "pwm-fan": 10},
        {"7-0040": NX_RAILS["1-0040"]},
        (("passive", 95_500), ("critical", 100_500)),
        has_oc=False,
    ),
    "thor": Board(
        "NVIDIA Jetson AGX Thor Developer Kit",
        "R39 (release), REVISION: 2.0",
        14,
        {0: "MAXN", 1: "120W", 2: "90W", 3: "70W"},
        "pmode:0001\n",
        {
            "bwmgr": (4_266_000_000, 665_000_000, 4_266_000_000),
            "gpu-gpc-0": (1_575_000_000, 315_000_000, 1_575_000_000),
            "gpu-nvd-0": (1_692_000_000, 315_000_000, 1_692_000_000),
        },
        {
            "cpu-thermal": 53_687,
            "tj-thermal": 55_093,
            "soc012-thermal": 55_093,
            "soc345-thermal": 53_718,
            "gpu-thermal": 54_906,
        },
        {
            "cpufreq-cpu0": 48,
            "pwm-fan": 4,
            **{f"{part}-throttle-alert": 2 for part in ("cpu", "gpu", "soc012", "soc345")},
            "devfreq-gpu-gpc-0": 169,
        },
        THOR_RAILS,
        (("active", 80_000), ("passive", 109_000), ("critical", 114_500)),
        vin_uw=31_250_000,
    ),
}


def put(path: Path, text: object) -> None:
    """Write a file as a kernel shows it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{text}\n")


def build_board(root: Path, board: Board) -> Path:
    """Build the files of a board below a folder, and return it."""
    put(root / "proc/device-tree/model", f"{board.model}\0")
    put(root / "etc/nv_tegra_release", f"# {board.release}, GCID: 1, BOARD: generic")
    put(root / "var/lib/nvpmodel/status", board.mode.rstrip("\n"))
    put(root / "etc/nvpmodel.conf", _modes(board))
    for number in range(board.cpus):
        folder = root / f"sys/devices/system/cpu/cpu{number}/cpufreq"
        put(folder / "scaling_governor", "schedutil")
        put(folder / "scaling_cur_freq", 1_344_000)
        put(folder / "scaling_min_freq", 729_600)
        put(folder / "scaling_max_freq", 1_728_000)
    for name, (hertz, least, most) in board.devfreq.items():
        for file, value in (("cur_freq", hertz), ("min_freq", least), ("max_freq", most)):
            put(root / f"sys/class/devfreq/{name}/{file}", value)
    _put_thermal(root, board)
    put_rails(root, board.chips)
    number = 1 + len(board.chips)
    if board.vin_uw is not None:
        put_ina238(root, number, board.vin_uw)
    if board.has_oc:
        oc = root / f"sys/class/hwmon/hwmon{number + 1}"
        put(oc / "name", "soctherm_oc")
        for event in ("oc1", "oc2", "oc3"):
            put(oc / f"{event}_event_cnt", 0)
            put(oc / f"{event}_throt_en", 1)
    fan = root / f"sys/class/hwmon/hwmon{number + 2}"
    put(fan / "name", "pwmfan")
    put(fan / "pwm1", 51)
    tacho = root / f"sys/class/hwmon/hwmon{number + 3}"
    put(tacho / "name", "pwm_tach")
    put(tacho / "rpm", 1636)
    return root


def _modes(board: Board) -> str:
    """As nvpmodel.conf has them, after what it declares."""
    head = "# < POWER_MODEL ID=0 NAME=EXAMPLE >\n< PARAM TYPE=FILE NAME=CPU_ONLINE >\nCORE_0 /sys\n"
    modes = [
        f"\n< POWER_MODEL ID={number} NAME={name} >\nCPU_ONLINE CORE_0 1\nGPU MAX_FREQ -1\n"
        for number, name in board.modes.items()
    ]
    return f"{head}{''.join(modes)}\n< PM_CONFIG DEFAULT={min(board.modes)} >"


def _put_thermal(root: Path, board: Board) -> None:
    thermal = root / "sys/class/thermal"
    for number, (name, millidegrees) in enumerate(board.zones.items()):
        zone = thermal / f"thermal_zone{number}"
        put(zone / "type", name)
        if millidegrees is None:  # a folder in its place fails for root too
            (zone / "temp").mkdir(parents=True)
        else:
            put(zone / "temp", millidegrees)
        for point, (kind, trip) in enumerate(board.trips):
            put(zone / f"trip_point_{point}_type", kind)
            put(zone / f"trip_point_{point}_temp", trip)
    for number, (name, most) in enumerate(board.cooling.items()):
        device = thermal / f"cooling_device{number}"
        put(device / "type", name)
        put(device / "cur_state", 0)
        put(device / "max_state", most)


def put_rails(root: Path, chips: Chips) -> Path:
    """Build INA3221 chips as hwmon1 and up, after another chip, and return the root."""
    put(root / "sys/class/hwmon/hwmon0/name", "cpu_thermal")
    for number, (address, rails) in enumerate(chips.items(), start=1):
        device = root / f"sys/devices/platform/bus@0/c240000.i2c/i2c-1/{address}"
        chip = device / f"hwmon/hwmon{number}"
        put(chip / "name", "ina3221")
        for channel, (rail, (millivolts, milliamperes)) in enumerate(rails.items(), start=1):
            put(chip / f"in{channel}_label", rail.strip())
            put(chip / f"in{channel}_enable", 1)
            put(chip / f"in{channel}_input", millivolts)
            put(chip / f"curr{channel}_input", milliamperes)
            put(chip / f"curr{channel}_crit", 32760)
        put(chip / "in7_label", "sum of shunt voltages")
        put(chip / "in7_input", 1234)
        put(chip / "curr4_input", 77)
        link = root / f"sys/class/hwmon/hwmon{number}"
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(chip)
    return root


def put_ina238(root: Path, number: int, microwatts: int) -> Path:
    """Build an INA238 as one hwmon device, and return its folder: it has no label."""
    chip = root / f"sys/class/hwmon/hwmon{number}"
    put(chip / "name", "ina238")
    put(chip / "in0_input", 2)
    put(chip / "in1_input", 20_000)
    put(chip / "curr1_input", microwatts // 20_000)
    put(chip / "power1_input", microwatts)
    put(chip / "temp1_input", 41_000)
    return chip
