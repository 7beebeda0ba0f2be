"""What the engine alone costs, by vit-bench, measured beside the servers."""

import itertools
import json
import os
import subprocess

import ghz
from serving_load import BIN, output

COMMAND = (str(BIN / "vit-bench"), "--benchmark_format=json")

# Microseconds of one core for an image, by the name of vit-bench's case.
Costs = dict[str, float]


def engine_costs() -> Costs:
    """Measures the trained model's shape on one core, nothing else running."""
    cases = json.loads(output([*COMMAND, "--benchmark_filter=^Engine/(f32|int8)/17/"]))["benchmarks"]
    return {case["name"]: 1e6 / case["items_per_second"] for case in cases}


def compute_us(costs: Costs, precision: str, batch: float) -> float:
    """An image in batches of this size: between those that were measured, linear in 1 / size."""
    prefix = f"Engine/{precision}/17/"
    sizes = sorted(int(name.removeprefix(prefix)) for name in costs if name.startswith(prefix))
    points = [(1 / size, costs[f"{prefix}{size}"]) for size in sizes]
    at = min(max(1 / batch, points[-1][0]), points[0][0])
    for (x0, y0), (x1, y1) in itertools.pairwise(points):
        if at >= x1:
            return y1 + (y0 - y1) * (at - x1) / (x0 - x1)
    return points[-1][1]


def engine_on_all_cores(precision: str) -> float:
    """Images a second of one engine on each core at once, in batches of 32: what a server of no cost would reach."""
    case = f"--benchmark_filter=^Engine/{precision}/17/32$"
    commands = (["taskset", "--cpu-list", str(cpu), *COMMAND, case] for cpu in sorted(os.sched_getaffinity(0)))
    runs = [subprocess.Popen(c, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd=ghz.ROOT) for c in commands]
    said = [json.loads(run.communicate()[0])["benchmarks"][0] for run in runs]
    return sum(case["items_per_second"] for case in said)
