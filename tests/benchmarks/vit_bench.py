"""Single cases of vit-bench on one core, and what many measurements amount to."""

from __future__ import annotations

import dataclasses
import json
import pathlib
import statistics
import subprocess
from typing import Any

SECONDS = 0.15  # of one measurement, by default
_UNITS = {"ns": 1e-9, "us": 1e-6, "ms": 1e-3, "s": 1.0}


@dataclasses.dataclass(frozen=True)
class Time:
    """What one iteration, or one image, took in seconds."""

    wall: float
    cpu: float

    def over(self, images: int) -> Time:
        """An image's part."""
        return Time(self.wall / images, self.cpu / images)


@dataclasses.dataclass(frozen=True)
class Summary:
    """Microseconds of wall time: median, quartiles and extremes; and the median of the CPU's time."""

    median: float
    low: float
    high: float
    min: float
    max: float
    cpu: float

    def __str__(self) -> str:
        digits = 0 if self.median >= 100 else 1 if self.median >= 10 else 2
        return f"{self.median:.{digits}f} [{self.low:.{digits}f}-{self.high:.{digits}f}]"


def summarise(times: list[Time]) -> Summary:
    """What the measurements of one engine and case amount to."""
    wall = [1e6 * time.wall for time in times]
    low, median, high = statistics.quantiles(wall, n=4, method="inclusive") if len(wall) > 1 else wall * 3
    return Summary(median, low, high, min(wall), max(wall), statistics.median(1e6 * time.cpu for time in times))


def list_cases(binary: pathlib.Path, pattern: str) -> list[str]:
    """Returns the names of the cases that a regular expression finds."""
    command = [binary, "--benchmark_list_tests", f"--benchmark_filter={pattern}"]
    result = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return [line for line in result.stdout.splitlines() if line and not line.startswith("Failed to match")]


def measure(binary: pathlib.Path, case: str, core: int, seconds: float = SECONDS) -> tuple[Time, dict[str, Any]]:
    """Runs one case; returns the time of an iteration and what vit-bench says of itself and the machine."""
    options = [f"--benchmark_filter=^{case}$", "--benchmark_format=json", f"--benchmark_min_time={seconds}"]
    command = ["taskset", "--cpu-list", str(core), binary, *options]
    result = subprocess.run(command, capture_output=True, text=True)
    if result.returncode or not result.stdout:
        raise RuntimeError(f"{binary} failed for {case}:\n{result.stderr}")
    report = json.loads(result.stdout)
    (measured,) = report["benchmarks"]
    if "error_message" in measured:
        raise RuntimeError(f"{binary}: {case}: {measured['error_message']}")
    unit = _UNITS[measured["time_unit"]]
    return Time(measured["real_time"] * unit, measured["cpu_time"] * unit), report["context"]
