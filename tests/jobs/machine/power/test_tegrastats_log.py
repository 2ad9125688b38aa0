"""Lines of tegrastats as boards write them, and logs that are damaged or of something else."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.common.errors import BadInputError, UsageError
from jobs.machine.power.meter_log import read_log
from jobs.machine.power.tegrastats_log import BoardLine, read_tegrastats
from jobs.machine.power.tegrastats_times import LogTimes

UTC = LogTimes.parse(zone="UTC")
# The forms are tegrastats' own on each board; the values are made up.
ORIN_NANO = (
    "11-25-2026 08:00:01 RAM 2467/7471MB (lfb 2x4MB) SWAP 0/994MB (cached 0MB) CPU"
    " [2%@729,1%@1728,off,0%@729] EMC_FREQ 0%@2133 GR3D_FREQ 12%@[611] NVDEC off APE 200"
    " cpu@47.5C soc2@46.8C gpu@46.2C tj@47.5C cv0@-256C VDD_IN 4462mW/4400mW"
    " VDD_CPU_GPU_CV 480mW/480mW VDD_SOC 1400mW/1400mW"
)
AS_USER = (
    "11-25-2026 08:00:01 RAM 2467/7471MB (lfb 2x4MB) CPU [2%@729,1%@729] GR3D_FREQ 0%"
    " cpu@47.5C tj@47.5C VDD_IN 4462mW/4400mW"
)
AGX_ORIN = (
    "11-25-2026 08:00:01 RAM 36529/62801MB (lfb 12x4MB) CPU [2%@1200] EMC_FREQ 1%@3199"
    " GR3D_FREQ 87%@[1300,0] CPU@55C GPU@53.5C tj@57.25C VDD_GPU_SOC 9000mW/8000mW"
    " VDD_CPU_CV 1500mW/1400mW VIN_SYS_5V0 4500mW/4400mW VDDQ_VDD2_1V8AO 700mW/700mW"
)
THOR = (
    "11-25-2026 08:00:01 RAM 8353/125749MB (lfb 31x4MB) CPU [90%,75%,off]@2601 EMC_FREQ @4266"
    " GR3D_FREQ @[1574,1574,1574] VIC off cpu@58.25C/61.75C tj@66.625C/66.625C"
    " gpu@56.937C/66.625C VDD_GPU -392mW/8660mW/37939mW VDD_CPU_SOC_MSS 30059mW/12281mW/30059mW"
    " VIN_SYS_5V0 15486mW/7424mW/15486mW VIN 124486mW/36487mW/124486mW FUTURE_TOKEN value"
)
OLD_TX2 = (
    "RAM 1710/7854MB (lfb 84x4MB) IRAM 0/252kB(lfb 252kB) CPU [0%@499,off,off,0%@501]"
    " EMC_FREQ 0%@665 GR3D_FREQ 0%@140 APE 150 PMIC@100C thermal@32C VDD_IN 1183/1190"
    " VDD_CPU 152/152 VDD_GPU 152/152"
)
AGX_XAVIER = (
    "11-25-2026 08:00:01 RAM 14700/15692MB (lfb 3x2MB) CPU [0%@1190] EMC_FREQ 0% GR3D_FREQ 0%"
    " GPU@30.5C CPU@31.5C GPU 463/463 CPU 618/618 SOC 2936/2936 CV 0/0"
)


def lines_of(path: Path, *lines: str, times: LogTimes = UTC) -> list[BoardLine]:
    """What is read from a log of these lines."""
    path.write_text("".join(f"{line}\n" for line in lines))
    return read_tegrastats(path, times)[0]


@pytest.mark.parametrize(
    ("line", "total_mw", "clocks_mhz", "gpu_c", "tj_c"),
    [
        (ORIN_NANO, 4462, (611, (729 + 1728 + 729) / 3, 2133), 46.2, 47.5),
        (AS_USER, 4462, (None, 729, None), None, 47.5),
        (AGX_ORIN, 15_000, (1300, 1200, 3199), 53.5, 57.25),
        (THOR, 124_486, (1574, 2601, 4266), 56.937, 66.625),
    ],
    ids=["orin-nano", "not as root", "agx-orin", "thor"],
)
def test_lines_of_boards(
    tmp_path: Path,
    line: str,
    total_mw: float,
    clocks_mhz: tuple[float | None, ...],
    gpu_c: float | None,
    tj_c: float,
) -> None:
    """The present values, not the means and peaks beside them; what is off has none."""
    (read,) = lines_of(tmp_path / "board.log", line)
    assert read.power_mw == total_mw
    assert (read.clock_mhz, read.cpu_clock_mhz, read.emc_clock_mhz) == clocks_mhz
    assert (read.temperatures_c.get("gpu"), read.temperatures_c["tj"]) == (gpu_c, tj_c)
    assert "cv0" not in read.temperatures_c


def test_rails_are_kept_by_name(tmp_path: Path) -> None:
    """All of them; memory, engines and what is new are none."""
    (thor,) = lines_of(tmp_path / "board.log", THOR)
    assert thor.rails_mw == {
        "VDD_GPU": -392,
        "VDD_CPU_SOC_MSS": 30_059,
        "VIN_SYS_5V0": 15_486,
        "VIN": 124_486,
    }
    start = LogTimes.parse(start="2026-11-25T08:00:00Z")
    (old,) = lines_of(tmp_path / "board.log", OLD_TX2, times=start)
    assert old.rails_mw == {"VDD_IN": 1183, "VDD_CPU": 152, "VDD_GPU": 152}
    assert (old.clock_mhz, old.cpu_clock_mhz, old.emc_clock_mhz) == (140, 500, 665)


def test_rails_without_a_known_total_have_none(tmp_path: Path) -> None:
    """AGX Xavier: temperatures are read all the same."""
    path = tmp_path / "board.log"
    path.write_text(AGX_XAVIER + "\n")
    (line,), summed = read_tegrastats(path, UTC)
    assert (summed, math.isnan(line.power_mw), line.temperatures_c["gpu"]) == ((), True, 30.5)


def test_a_line_without_an_end_is_left_out(tmp_path: Path) -> None:
    """As where tegrastats was killed; blank lines count for nothing."""
    path = tmp_path / "board.log"
    path.write_text(f"{ORIN_NANO}\n\n{ORIN_NANO}\n{ORIN_NANO[:70]}")
    assert [line.line for line in read_tegrastats(path, UTC)[0]] == [1, 3]


@pytest.mark.parametrize(
    ("line", "why"),
    [
        (ORIN_NANO[:60], "no rail VDD_IN"),
        ("jetson login: garbage", "no line of tegrastats"),
        ("RAM " + 20_000 * "x", "no line of tegrastats"),
        (ORIN_NANO.replace("4462mW/4400mW", "4462W"), "no rail VDD_IN"),
        (ORIN_NANO.replace("4462mW", "600000mW"), "rail VDD_IN of 600000 mW"),
        (ORIN_NANO.replace("4462mW", "-462mW"), "a total of -462 mW"),
        (ORIN_NANO.replace("4462mW", "-44620mW"), "rail VDD_IN of -44620 mW"),
        (ORIN_NANO.replace("[611]", "[61100000]"), "GR3D_FREQ at 61100000 MHz"),
        (ORIN_NANO + " VDD_IN 5mW/5mW", "rail VDD_IN twice"),
    ],
)
def test_a_damaged_line_is_told_by_its_number(tmp_path: Path, line: str, why: str) -> None:
    """Amid good ones; nothing is read then."""
    with pytest.raises(BadInputError) as caught:
        lines_of(tmp_path / "board.log", ORIN_NANO, line, ORIN_NANO)
    (problem,) = caught.value.problems
    assert (problem.line, problem.found) == (2, why)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (None, "No such file"),
        (b"", "no line of tegrastats"),
        (b"time,watts\n2026-11-25T08:00:01Z,12.5\nsecret,1\n", "no line of tegrastats"),
        (b"\xff\xfeR\x00", "text in UTF-16"),
        (b"\xff\x00\x00", "not UTF-8 text"),
    ],
)
def test_a_foreign_file_is_refused(tmp_path: Path, content: bytes | None, why: str) -> None:
    """Without a word of what stands in it."""
    path = tmp_path / "board.log"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(BadInputError, match=why) as caught:
        read_tegrastats(path, UTC)
    assert "secret" not in str(caught.value)
    assert "tegrastats --interval 100 --logfile" in str(caught.value)


def test_many_damaged_lines_are_counted(tmp_path: Path) -> None:
    """The first twenty, and how many more there are."""
    with pytest.raises(BadInputError, match="30 more lines with problems"):
        lines_of(tmp_path / "board.log", *50 * ["x"], ORIN_NANO)


def test_a_meters_reader_says_what_such_a_log_is(tmp_path: Path) -> None:
    """Where --format was forgotten."""
    path = tmp_path / "board.log"
    path.write_text(ORIN_NANO + "\n")
    with pytest.raises(BadInputError, match="--format tegrastats for its log"):
        read_log(path)


@given(
    st.lists(
        st.tuples(
            st.sampled_from((ORIN_NANO, AGX_ORIN, THOR, AS_USER)),
            st.integers(0, 300),
            st.integers(0, 9),
            st.text(max_size=9),
        ),
        max_size=4,
    )
)
def test_whatever_stands_in_a_file_is_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, lines: list[tuple[str, int, int, str]]
) -> None:
    """Lines with something cut out and put in: never another error, and no power that is absurd."""
    path = tmp_path_factory.mktemp("logs") / "board.log"
    text = "\n".join(line[:at] + put + line[at + cut :] for line, at, cut, put in lines)
    path.write_bytes(text.encode(errors="surrogatepass") + b"\n")
    try:
        read, summed = read_tegrastats(path, UTC)
    except (BadInputError, UsageError):
        return
    assert not summed or all(0 <= line.power_mw <= 1_500_000 for line in read)
