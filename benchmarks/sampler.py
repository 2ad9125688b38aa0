"""What sampling power costs: processor time of the sampler's thread, against 1 % of a core.

The sampler reads a made tree of an AGX Orin, two INA3221 chips and four rails, at its own period
beside a thread that computes, as beside a timed loop. The kernel's side of a real sensor, an I2C
transfer of a millisecond or so, is waiting and no processor time; so files stand in for it. The
thread's own clock tells what it used (CLOCK_THREAD_CPUTIME_ID).

    python benchmarks/sampler.py [--seconds 10]
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

import torch

from jobs.machine.power.board_rails import find_board_rails
from jobs.machine.power.sampler import Sampler

LIMIT = 0.01
RAILS = {
    1: {"VDD_GPU_SOC": (19000, 200), "VDD_CPU_CV": (19000, 60), "VIN_SYS_5V0": (5000, 900)},
    2: {"VDDQ_VDD2_1V8AO": (5000, 120)},
}


def make_board(root: Path) -> None:
    """Write the files of two chips: mV and mA by rail."""
    for chip, rails in RAILS.items():
        folder = root / f"sys/class/hwmon/hwmon{chip}"
        folder.mkdir(parents=True)
        (folder / "name").write_text("ina3221\n")
        for channel, (rail, (millivolts, milliamperes)) in enumerate(rails.items(), start=1):
            (folder / f"in{channel}_label").write_text(f"{rail}\n")
            (folder / f"in{channel}_input").write_text(f"{millivolts}\n")
            (folder / f"curr{channel}_input").write_text(f"{milliamperes}\n")


def busy(seconds: float) -> int:
    """Multiply matrices for so long; gives how often."""
    matrix, rounds, until_s = torch.ones(128, 128), 0, time.monotonic() + seconds
    while time.monotonic() < until_s:
        matrix @ matrix
        rounds += 1
    return rounds


def main() -> None:
    """Print the table; exit code 1 beyond the limit."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=10)
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        make_board(Path(folder))
        source = find_board_rails(Path(folder))
        sampler = Sampler(source)
        busy(0.1)
        sampler.start()
        began_s = time.monotonic()
        busy(options.seconds)
        sampler.stop()
        passed_s = time.monotonic() - began_s
    share, samples = sampler.cpu_s / passed_s, len(sampler.readings)
    each_us = 1e6 * sampler.cpu_s / samples
    print(f"{source.name}; every {source.period_ms:.0f} ms beside a busy thread, {passed_s:.1f} s")
    print(f"{'':32}{'ours':>10}{'limit':>10}{'ratio':>10}")
    print(f"{'share of a core':32}{share:10.3%}{LIMIT:10.3%}{share / LIMIT:10.3f}")
    print(f"{'processor time a sample, us':32}{each_us:10.0f}")
    print(f"{'samples':32}{samples:10}")
    sys.exit(share > LIMIT)


if __name__ == "__main__":
    main()
