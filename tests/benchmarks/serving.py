"""Measures vit-server under load: against what gRPC alone costs, against other servers of the same network, and
against its own engine.

usage: scripts/bench-serving [OPTION...]

The servers share the machine's cores with their client. Each is started in turn, in rounds; tables show medians.

  closed    requests/s, latency and CPU time at 1, 8 and 64 calls in flight; `floor` computes nothing, `ideal-*` spend
            on each call the CPU time that our engine takes and no more, ort-* are grpcio over ONNX Runtime, triton and
            pytriton are Triton's over it, mosec is HTTP under wrk; then what vit-server adds to the floor and to
            the computation
  many      Classify, ClassifyBatch and ClassifyStream under vit-load against the engine alone on as many cores
  open      latency at 20, 50 and 80 % of the capacity: as by default, without batching, with a delay of 1 ms
  overload  what is answered in time when up to 10 times the capacity is sent, or as much as vit-load can, also of
            networks that take longer to compute; here the server and the client have a core each
  start     start to ready, memory, container image, what metrics cost

Memory is that of all processes, shared pages counted once. CPU times are microseconds an answer, user and system.
Everything measured goes to build/bench-serving.json; a part that is not run keeps what the file says of it.
"""

import argparse
import datetime
import importlib.metadata
import json
import os
import pathlib
import platform
import re
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "scripts"))

import ghz
from serving_load import output
from serving_parts import PARTS, servers, triton_packages
from serving_process import REPORTS

RESULT = ghz.ROOT / "build/bench-serving.json"
GHZ = ghz.ROOT / "build/deps/bin/ghz"
PACKAGES = ("grpcio", "mosec", "numpy", "onnxruntime")


def parse_arguments() -> argparse.Namespace:
    """Reads the command line; options.servers and options.parts become lists."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.usage = argparse.SUPPRESS
    parser.add_argument("--rounds", type=int, default=3, help="how often each server is measured (%(default)s)")
    parser.add_argument("--duration", type=float, default=5, help="seconds of each load (%(default)s)")
    parser.add_argument("--servers", help="those of the closed loop, separated by commas; all by default")
    parser.add_argument("--parts", help="separated by commas; all by default")
    parser.add_argument("--model", default="build/serving/17.onnx", help="the network for the peers (%(default)s)")
    options = parser.parse_args()
    known = {server.name: server for server in servers(options.model)}
    options.servers = [known[name] for name in pick("--servers", options.servers, known)]
    options.parts = pick("--parts", options.parts, PARTS)
    return options


def pick(flag: str, chosen: str | None, known: dict[str, object]) -> list[str]:
    """The names that an option chooses, all by default."""
    names = chosen.split(",") if chosen else list(known)
    for name in names:
        if name not in known:
            sys.exit(f"error: {flag}: expected some of {', '.join(known)}, found '{name}'")
    return names


def about() -> dict[str, object]:
    """The machine and what was measured on it."""
    cpu = re.search(r"model name\s*:\s*(.*)", pathlib.Path("/proc/cpuinfo").read_text())
    said = subprocess.run([GHZ, "--version"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True).stdout
    return {
        "cores": len(os.sched_getaffinity(0)),
        "cpu": cpu.group(1) if cpu else platform.processor(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "commit": output(["git", "describe", "--always", "--dirty"]).strip(),
        "grpc++": output(["pkg-config", "--modversion", "grpc++"]).strip(),
        "ghz": said.strip(),
        "triton": triton_packages(),
    } | {name: importlib.metadata.version(name) for name in PACKAGES}


def main() -> None:
    options = parse_arguments()
    REPORTS.mkdir(parents=True, exist_ok=True)
    result = json.loads(RESULT.read_text()) if RESULT.exists() else {"parts": {}}
    for name in options.parts:
        part = PARTS[name](options)
        part |= {"date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"), "about": about()}
        part |= {"rounds": options.rounds, "seconds": options.duration}
        result["parts"][name] = part
        RESULT.write_text(json.dumps(result, indent=1) + "\n")
    print(f"wrote {RESULT.relative_to(ghz.ROOT)}", file=sys.stderr)


if __name__ == "__main__":
    main()
