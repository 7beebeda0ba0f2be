"""Measures the engine and its peers on the same networks, in turns, each on one core with one thread.

Before that it checks that they compute the same network: log-probabilities of the f32 peers must be those of
vit-server to 1e-4, and engines of less precision must find 95 % of its labels. OpenVINO's int8 is calibrated on MNIST
test images, others than those of the check.

A time is that of a whole call, mean over 0.15 s, divided by the images: the peers' from normalised
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
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import peer_check
import peer_models
import vit_bench
from peer_engines import PEERS, Worker, missing
from peer_models import CASES, ROOT, TRAINED_TOKENS, Case
from vit_bench import SECONDS, Summary, Time, summarise

BENCH = ROOT / "build/release/bin/vit-bench"
REPORT = ROOT / "build/bench-peers.json"
OURS = {"ours-f32": "f32", "ours-bf16": "bf16", "ours-int8": "int8"}
PACKAGES = ("openvino", "nncf", "onnxruntime", "torch")
# The instruction sets that engines ask for.
FLAGS = ("avx2", "avx_vnni", "avx512f", "avx512_vnni", "avx512_bf16", "avx512_fp16", "amx_int8", "amx_bf16")

Times = dict[str, dict[Case, list[Time]]]
Table = dict[str, dict[Case, Summary]]


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


def measure_ours(name: str, case: Case, core: int) -> tuple[Time, dict[str, Any]]:
    """As vit_bench.measure."""
    return vit_bench.measure(BENCH, f"Engine/{OURS[name]}/{case}", core)


def ours_here(names: list[str]) -> list[str]:
    """Those of our precisions that this CPU has."""
    listed = subprocess.run([BENCH, "--benchmark_list_tests"], capture_output=True, text=True, check=True).stdout
    found = [name for name in names if name in OURS and f"Engine/{OURS[name]}/" in listed]
    for name in OURS:
        if name in names and name not in found:
            say(f"{name} is left out: this CPU has no {OURS[name]} products")
    return found


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
                    time = measure_ours(name, case, core)[0].over(case.batch)
                else:
                    time = workers[name].measure(case, SECONDS)
                times[name][case].append(time)
    return times


def ratios(table: Table, case: Case) -> dict[str, float]:
    """Our medians over those of peers; below 1 we are quicker. Of several forms of a peer the quickest counts."""
    medians = {name: cells[case].median for name, cells in table.items()}
    found = {}
    for ours, peers in (
        (["ours-f32"], ["openvino-f32"]),
        (["ours-bf16"], ["openvino-bf16"]),
        (["ours-int8"], ["openvino-int8", "openvino-int8-bf16"]),
        (list(OURS), list(PEERS)),
    ):
        left = [medians[name] for name in ours if name in medians]
        right = [medians[name] for name in peers if name in medians]
        if left and right:
            label = f"{ours[0]} / {peers[0]}" if len(ours) == 1 else "our best / best peer"
            found[label] = min(left) / min(right)
    return found


def describe_machine(context: dict[str, Any]) -> dict[str, str]:
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


def print_table(machine: dict[str, str], table: Table, rounds: int) -> None:
    """Prints what was measured."""
    for key, value in machine.items():
        print(f"{key:<20}{value}")
    cases = list(next(iter(table.values())))
    print(f"\nus an image, one core: median of {rounds} rounds [quartiles]; columns are TOKENS/BATCH\n")
    print(f"{'':<26}" + "".join(f"{case!s:>22}" for case in cases))
    for name, cells in table.items():
        print(f"{name:<26}" + "".join(f"{cells[case]!s:>22}" for case in cases))
    print()
    for label in ratios(table, cases[0]):
        print(f"{label:<26}" + "".join(f"{ratios(table, case)[label]:>22.2f}" for case in cases))
    if "openvino-int8-bf16" in table:
        print("\nOf OpenVINO's int8 the quicker form counts: what is not int8 is f32 in one, bf16 in the other.")
    waited = max(cell.median / cell.cpu for cells in table.values() for cell in cells.values())
    if waited > 1.1:
        print(f"\nThe core was shared: some calls took {waited:.2f} times as long as it computed for them.")


def by_case(cells: dict[Case, Any], convert: Callable[[Any], Any]) -> dict[str, Any]:
    """The same in the terms of JSON."""
    return {str(case): convert(cell) for case, cell in cells.items()}


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
    ours = ours_here(args.engines)
    engines = [name for name in args.engines if name in ours or name in workers]
    if not engines:
        raise RuntimeError("no engine is left to measure")

    say("comparing answers")
    answers = peer_check.check(workers, known)
    _, context = measure_ours("ours-f32", args.cases[0], args.core)
    times = measure(engines, workers, args.cases, args.rounds, args.core)
    for worker in workers.values():
        worker.close()

    machine = describe_machine(context)
    table = {name: {case: summarise(each) for case, each in cells.items()} for name, cells in times.items()}
    print_table(machine, table, args.rounds)
    report = {
        "machine": machine,
        "context": context,
        "answers": answers,
        "microseconds_an_image": {name: by_case(cells, dataclasses.asdict) for name, cells in table.items()},
        "ratios": {str(case): ratios(table, case) for case in args.cases},
        "seconds_of_rounds": {
            name: by_case(cells, lambda each: [dataclasses.asdict(time) for time in each])
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
