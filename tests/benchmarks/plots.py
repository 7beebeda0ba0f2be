"""Draws what the benchmarks measured into docs/performance-*.png: throughput against concurrency, latency against the
load that is offered, time against batch size. Reads build/bench-serving.json, build/bench-peers.json and
build/bench.json; a picture of which nothing was measured is left out.

Run it by `make bench-plots`, which makes its environment.
"""

import argparse
import json
import pathlib
import re
import sys
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from serving_table import grouped, median

ROOT = pathlib.Path(__file__).resolve().parents[2]
OURS = ("int8", "f32")
TOKENS = "17"
LABELS = {
    "floor": "gRPC alone, computing nothing",
    "int8": "vit-server int8",
    "f32": "vit-server f32",
    "ort-aio": "grpc.aio, ONNX Runtime",
    "ort-threads": "grpcio's threads, ONNX Runtime",
    "mosec": "mosec, ONNX Runtime (HTTP, by wrk)",
    "triton": "Triton, ONNX Runtime",
    "pytriton": "pytriton, ONNX Runtime",
    "ideal-int8": "gRPC and int8's CPU time, no more",
    "ideal-f32": "gRPC and f32's CPU time, no more",
}
# What computes nothing of its own.
DASHED = {"floor": "grey", "ideal-int8": "tab:blue", "ideal-f32": "tab:orange"}

Points = dict[float, float]


def read(name: str) -> dict[str, Any]:
    """A report of a benchmark, empty if it was not run."""
    path = ROOT / "build" / name
    return json.loads(path.read_text()) if path.exists() else {}


def start(title: str, x: str, y: str) -> Axes:
    _, axes = plt.subplots(figsize=(7, 4.2), layout="constrained")
    axes.set_title(title, fontsize=11)
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.grid(alpha=0.3)
    axes.set_prop_cycle(color=plt.colormaps["tab20"].colors[::2] + plt.colormaps["tab20"].colors[1::2])
    axes.spines[["top", "right"]].set_visible(False)
    return axes


def draw(axes: Axes, label: str, points: Points, ours: bool, **style: Any) -> None:
    """A line; ours are the thick ones."""
    xs = sorted(points)
    axes.plot(xs, [points[x] for x in xs], label=label, marker="o", linewidth=2.5 if ours else 1.2, **style)


def save(axes: Axes, name: str) -> None:
    """Writes docs/performance-NAME.png."""
    axes.legend(fontsize=8, frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
    path = ROOT / f"docs/performance-{name}.png"
    axes.figure.savefig(path, dpi=120)
    print(f"wrote {path.relative_to(ROOT)}", file=sys.stderr)


def ticks(axes: Axes, values: list[float]) -> None:
    axes.set_xscale("log", base=2)
    axes.set_xticks(values, [f"{value:g}" for value in values])
    axes.minorticks_off()


def plot_throughput(part: dict[str, Any]) -> None:
    title = f"Closed loop, server and client on the same {part['about']['cores']} cores"
    axes = start(title, "calls in flight", "answers a second")
    lines: dict[str, Points] = {}
    for (server, calls), rows in grouped(part["rows"], "server", "concurrency").items():
        lines.setdefault(server, {})[calls] = median(rows, "per_second")
    for server, points in lines.items():
        style = {"color": DASHED[server], "linestyle": "--"} if server in DASHED else {}
        draw(axes, LABELS.get(server, server), points, server in OURS, **style)
    axes.set_ylim(bottom=0)
    ticks(axes, sorted({calls for points in lines.values() for calls in points}))
    save(axes, "throughput")


def plot_latency(part: dict[str, Any]) -> None:
    axes = start("Open loop: median (line) and 99th percentile (dashes)", "requests a second", "latency, ms")
    colours: dict[str, str] = {}
    for server, rows in grouped(part["rows"], "server").items():
        colour = colours.setdefault(server[0], f"C{len(colours)}")
        shares = grouped(rows, "share").values()
        for key, style in (("p50_ms", "-"), ("p99_ms", "--")):
            points = {median(group, "asked_per_second"): median(group, key) for group in shares}
            label = server[0] if key == "p50_ms" else "_"
            draw(axes, label, points, server[0] == "default", linestyle=style, color=colour)
    axes.set_yscale("log")
    scale = (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50)
    axes.set_yticks(scale, [f"{value:g}" for value in scale])
    axes.minorticks_off()
    save(axes, "latency")


def plot_batch(bench: dict[str, Any], peers: dict[str, Any]) -> None:
    axes = start(f"The network of {TOKENS} tokens on one core", "images in a batch", "microseconds an image")
    lines: dict[str, Points] = {}
    for name, cases in peers.get("microseconds_an_image", {}).items():
        for case, cell in cases.items():
            tokens, batch = case.split("/")
            if tokens == TOKENS:
                lines.setdefault(name, {})[int(batch)] = cell["median"]
    for case in [] if peers else bench["benchmarks"]:
        found = re.fullmatch(rf"Engine/(\w+)/{TOKENS}/(\d+)", case["name"])
        if found and "items_per_second" in case:
            lines.setdefault(f"ours-{found[1]}", {})[int(found[2])] = 1e6 / case["items_per_second"]
    for name, points in lines.items():
        draw(axes, name, points, name.startswith("ours"))
    axes.set_yscale("log")
    scale = (50, 100, 200, 500, 1000, 2000)
    axes.set_yticks(scale, [str(value) for value in scale])
    ticks(axes, sorted({batch for points in lines.values() for batch in points}))
    save(axes, "batch")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.parse_args()
    serving = read("bench-serving.json").get("parts", {})
    if "closed" in serving:
        plot_throughput(serving["closed"])
    if "open" in serving:
        plot_latency(serving["open"])
    bench, peers = read("bench.json"), read("bench-peers.json")
    if bench or peers:
        plot_batch(bench, peers)


if __name__ == "__main__":
    main()
