"""Measures the engine and its peers on the same networks, in turns, each on one core with one thread.

Before that it checks that they compute the same network: log-probabilities of the f32 peers must be those of
vit-server to 1e-4, and engines of less precision must find 95 % of its labels.

A time is that of a whole call, mean over some tenths of a second, divided by the images: the peers' from normalised
pixels in memory to logits, ours (vit-bench) from bytes to probabilities. Every engine and case is measured once a
round, so that what disturbs the machine falls on all of them.
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib.metadata
import json
import os
import pathlib
import statistics
import subprocess
import sys

import peer_check
import peer_models
from peer_engines import PEERS, Time, Worker, missing
from peer_models import CASES, ROOT, TRAINED_TOKENS, Case

BENCH = ROOT / "build/release/bin/vit-bench"
REPORT = ROOT / "build/bench-peers.json"
OURS = {"ours-f32": "f32", "ours-int8": "int8"}
SECONDS = 0.15  # of one measurement
PACKAGES = ("openvino", "nncf", "onnxruntime", "torch")
# The instruction sets that engines ask for.
FLAGS = ("avx2", "avx_vnni", "avx512f", "avx512_vnni", "avx512_bf16", "avx512_fp16", "amx_int8", "amx_bf16")

Times = dict[str, dict[Case, list[Time]]]


def say(message: str) -> None:
    """Tells how far the program is."""
    print(f"==> {message}", file=sys.stderr, flush=True)


def parse_arguments() -> argparse.Namespace:
    """Reads the command line."""
    names = [*OURS, *PEERS]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15, help="measurements of each engine and case; 3 for a glance")
    parser.add_argument("--cases", default=",".join(map(str, CASES)), help="TOKENS/BATCH,...: %(default)s")
    parser.add_argument("--engines", default=",".join(names), help="%(default)s")
    parser.add_argument("--core", type=int, default=max(os.sched_getaffinity(0)), help="to compute on: %(default)s")
    args = parser.parse_args()
    if args.rounds < 1:
        parser.error(f"--rounds is {args.rounds}, expected at least 1")
    if args.core not in os.sched_getaffinity(0):
        parser.error(f"--core is {args.core}, expected one of {sorted(os.sched_getaffinity(0))}")
    known = {str(case): case for case in CASES}
    for option, given, expected in (("cases", args.cases, known), ("engines", args.engines, names)):
        if unknown := set(given.split(",")) - set(expected):
            parser.error(f"--{option} has {', '.join(sorted(unknown))}, expected some of {', '.join(expected)}")
    args.cases = [known[case] for case in args.cases.split(",")]
    args.engines = args.engines.split(",")
    return args


def run_bench(precision: str, case: Case, core: int) -> tuple[Time, dict]:
    """Measures ours; returns the time and what vit-bench says of itself."""
    name = f"Engine/{precision}/{case}"
    options = [f"--benchmark_filter=^{name}$", "--benchmark_format=json", f"--benchmark_min_time={SECONDS}"]
    command = ["taskset", "--cpu-list", str(core), BENCH, *options]
    result = subprocess.run(command, capture_output=True, text=True)
    if result.returncode or not result.stdout:
        raise RuntimeError(f"vit-bench failed for {name}:\n{result.stderr}")
    report = json.loads(result.stdout)
    measured = report["benchmarks"][0]
    if "error_message" in measured:
        raise RuntimeError(f"{name}: {measured['error_message']}")
    scale = {"ns": 1e-9, "us": 1e-6, "ms": 1e-3}[measured["time_unit"]] / case.batch
    return Time(measured["real_time"] * scale, measured["cpu_time"] * scale), report["context"]


def start_workers(names: list[str], cases: list[Case], core: int) -> dict[str, Worker]:
    """Starts the peers that this machine can run."""
    workers = {}
    for name in names:
        if lacks := missing(name):
            say(f"{name} is left out: {lacks}")
            continue
        say(f"starting {name}")
        try:
            workers[name] = Worker(name, cases, core)
        except RuntimeError as error:
            raise RuntimeError(f"{name}: {error}") from error
    return workers


def measure(engines: list[str], workers: dict[str, Worker], cases: list[Case], rounds: int, core: int) -> Times:
    """Measures all in turns; each round begins with another engine."""
    times: Times = {name: {case: [] for case in cases} for name in engines}
    for turn in range(rounds):
        say(f"round {turn + 1} of {rounds}")
        first = turn % len(engines)
        for case in cases:
            for name in engines[first:] + engines[:first]:
                if name in OURS:
                    time, _ = run_bench(OURS[name], case, core)
                else:
                    time = workers[name].measure(case, SECONDS)
                times[name][case].append(time)
    return times


def summarise(times: list[Time]) -> dict[str, float]:
    """Microseconds an image: median, quartiles and extremes of the rounds, and the median of the CPU's time."""
    wall = [1e6 * time.wall for time in times]
    low, median, high = statistics.quantiles(wall, n=4, method="inclusive") if len(wall) > 1 else wall * 3
    cpu = statistics.median(1e6 * time.cpu for time in times)
    return {"median": median, "low": low, "high": high, "min": min(wall), "max": max(wall), "cpu": cpu}


def ratios(table: dict[str, dict[str, dict[str, float]]], case: str) -> dict[str, float]:
    """Our medians over those of peers; below 1 we are quicker. Of several forms of a peer the quickest counts."""
    medians = {name: cells[case]["median"] for name, cells in table.items()}
    found = {}
    for ours, peers in (
        (["ours-f32"], ["openvino-f32"]),
        (["ours-int8"], ["openvino-int8", "openvino-int8-bf16"]),
        (list(OURS), list(PEERS)),
    ):
        left = [medians[name] for name in ours if name in medians]
        right = [medians[name] for name in peers if name in medians]
        if left and right:
            label = f"{ours[0]} / {peers[0]}" if len(ours) == 1 else "our best / best peer"
            found[label] = min(left) / min(right)
    return found


def describe_machine(context: dict) -> dict[str, str]:
    """The CPU and the versions of all engines."""
    cpu = dict(line.split(":", 1) for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines() if ":" in line)
    fields = {key.strip(): value.strip() for key, value in cpu.items()}
    flags = fields.get("flags", "").split()
    git = ["git", "describe", "--always", "--dirty", "--abbrev=12"]
    return {
        "CPU": fields.get("model name", "unknown"),
        "instruction sets": " ".join(flag for flag in FLAGS if flag in flags),
        "ours": subprocess.run(git, capture_output=True, text=True, cwd=ROOT).stdout.strip() or "unknown",
        "our kernels": context.get("kernels", "unknown"),
        "peers": ", ".join(f"{name} {importlib.metadata.version(name)}" for name in PACKAGES),
    }


def print_table(machine: dict[str, str], table: dict, cases: list[Case], rounds: int) -> dict[str, dict[str, float]]:
    """Prints what was measured and returns the ratios of each case."""
    for key, value in machine.items():
        print(f"{key:<20}{value}")
    print(f"\nus an image, one core: median of {rounds} rounds [quartiles]; columns are TOKENS/BATCH\n")
    print(f"{'':<24}" + "".join(f"{case!s:>22}" for case in cases))
    for name, cells in table.items():
        columns = (cells[str(case)] for case in cases)
        text = (f"{cell['median']:.0f} [{cell['low']:.0f}-{cell['high']:.0f}]" for cell in columns)
        print(f"{name:<24}" + "".join(f"{cell:>22}" for cell in text))
    found = {str(case): ratios(table, str(case)) for case in cases}
    print()
    for label in found[str(cases[0])]:
        print(f"{label:<24}" + "".join(f"{found[str(case)][label]:>22.2f}" for case in cases))
    waited = max(cell["median"] / cell["cpu"] for cells in table.values() for cell in cells.values())
    if waited > 1.1:
        print(f"\nThe core was shared: some calls took {waited:.2f} times as long as it computed for them.")
    return found


def run(args: argparse.Namespace) -> None:
    """Prepares, checks, measures and reports."""
    peers = [name for name in args.engines if name in PEERS]
    # The networks of random weights say little about answers.
    known = args.cases
    if all(case.tokens != TRAINED_TOKENS for case in known):
        known = [Case(TRAINED_TOKENS, 1), *known]
    for case in known:
        say(f"writing the network's files for {case}")
        peer_models.write_files(case, {PEERS[name].file for name in peers} - {""})
    workers = start_workers(peers, known, args.core)
    engines = [name for name in args.engines if name in OURS or name in workers]

    say("comparing answers")
    answers = peer_check.check(workers, known)
    _, context = run_bench("f32", args.cases[0], args.core)
    times = measure(engines, workers, args.cases, args.rounds, args.core)
    for worker in workers.values():
        worker.close()

    machine = describe_machine(context)
    table = {name: {str(case): summarise(each) for case, each in cells.items()} for name, cells in times.items()}
    found = print_table(machine, table, args.cases, args.rounds)
    report = {
        "machine": machine,
        "context": context,
        "answers": answers,
        "microseconds_an_image": table,
        "ratios": found,
        "rounds": {
            name: {str(case): [dataclasses.asdict(time) for time in each] for case, each in cells.items()}
            for name, cells in times.items()
        },
    }
    REPORT.write_text(json.dumps(report, indent=2) + "\n")
    say(f"wrote {REPORT.relative_to(ROOT)}")


def main() -> None:
    """Runs, and says in one line what went wrong."""
    args = parse_arguments()
    # For the libraries of all peers, before they are loaded.
    os.environ["OMP_NUM_THREADS"] = "1"
    os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(ROOT / "build/peers/inductor")
    try:
        run(args)
    except RuntimeError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
