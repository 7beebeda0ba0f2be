"""Runs the cases that two builds of vit-bench share in turns on one core, and prints how their times compare.

Run it by `make bench-compare BASE=COMMIT`, which builds both.
"""

from __future__ import annotations

import argparse
import os
import pathlib
import sys

import vit_bench
from vit_bench import Time


def parse_arguments() -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("base", type=pathlib.Path, help="vit-bench to compare with")
    parser.add_argument("new", type=pathlib.Path, help="vit-bench")
    parser.add_argument("--benchmark_filter", default="^Engine/", help="regular expression of cases: %(default)s")
    parser.add_argument("--rounds", type=int, default=15, help="measurements of each: %(default)s")
    parser.add_argument("--core", type=int, default=max(os.sched_getaffinity(0)), help="to compute on: %(default)s")
    args = parser.parse_args()
    if args.rounds < 1:
        parser.error(f"--rounds is {args.rounds}, expected at least 1")
    if args.core not in os.sched_getaffinity(0):
        parser.error(f"--core is {args.core}, expected one of {sorted(os.sched_getaffinity(0))}")
    return args


def main() -> None:
    """Measures and prints."""
    args = parse_arguments()
    builds = [args.base, args.new]
    listed = [vit_bench.list_cases(build, args.benchmark_filter) for build in builds]
    cases = [case for case in listed[1] if case in listed[0]]
    if alone := sorted(set(listed[0]) ^ set(listed[1])):
        print(f"==> left out, as only one build has them: {', '.join(alone)}", file=sys.stderr)
    if not cases:
        sys.exit(f"error: no case of both builds matches {args.benchmark_filter}")

    times: dict[str, list[list[Time]]] = {case: [[], []] for case in cases}
    for turn in range(args.rounds):
        print(f"==> round {turn + 1} of {args.rounds}", file=sys.stderr, flush=True)
        for case in cases:
            # Whichever runs second finds a warmer machine.
            for which in (0, 1) if turn % 2 == 0 else (1, 0):
                try:
                    time, _ = vit_bench.measure(builds[which], case, args.core)
                except RuntimeError as error:
                    sys.exit(f"error: {error}")
                times[case][which].append(time)

    print(f"us an iteration: median of {args.rounds} rounds [quartiles]\n")
    width = max(len(case) for case in cases) + 2
    print(f"{'case':<{width}}{'base':>24}{'new':>24}{'new / base':>12}")
    for case in cases:
        base, new = (vit_bench.summarise(each) for each in times[case])
        print(f"{case:<{width}}{base!s:>24}{new!s:>24}{new.median / base.median:>12.3f}")


if __name__ == "__main__":
    main()
