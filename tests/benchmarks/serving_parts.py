"""The parts of the serving benchmark. Each measures in rounds, all servers in turn, prints a table and returns it."""

import argparse
import json
import os
import re
import socket
import statistics
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterable, Iterator

import ghz
from serving_engine import COMMAND, Costs, compute_us, engine_costs, engine_on_all_cores
from serving_load import BIN, Row, apart, closed, many, open_loop, output
from serving_process import Running, Server, proc_kb, vit_server
from serving_table import Groups, grouped, lines, median, say, table

CONCURRENCIES = (1, 8, 64)
FULL = CONCURRENCIES[-1]
OURS = ("int8", "f32")
MANY = (("one", FULL), ("batch", 1), ("batch", 2), ("batch", 4), ("stream", 1), ("stream", 2), ("stream", 4))
DEFAULT = vit_server("default")
OPEN = (DEFAULT, vit_server("no batching", "--max_batch_size=1"), vit_server("1 ms", "--max_queue_delay_us=1000"))
OPEN_SHARES = (0.2, 0.5, 0.8)
TRITON = ghz.ROOT / "build/triton-venv"
OVERLOADS = (0.8, 1, 2, 4, 10)
OVERLOAD_DEADLINE_MS = 50
# The deadlines of networks that take longer: see serving_export.py.
SLOW_MS = {"slow": 200, "slower": 2000}
STARTS = 9
SCRAPES = 200

Options = argparse.Namespace
Part = dict[str, object]


def servers(model: str) -> list[Server]:
    """All that the closed loop compares. `model` is the network as an ONNX file. Triton only if it is installed."""
    here = ghz.ROOT / "tests/benchmarks"
    ort = (sys.executable, str(here / "serving_ort.py"), f"--model={model}")
    mosec = (sys.executable, str(here / "serving_mosec.py"), f"--model={model}")
    triton = (str(TRITON / "bin/python"), str(here / "serving_triton.py"), f"--model={model}")
    found = [
        Server("floor", (str(BIN / "vit-floor"),)),
        vit_server("int8", "--precision=int8"),
        vit_server("f32", "--precision=f32"),
        Server("ort-aio", (*ort, "--processes=2", "--workers=1", "aio")),
        Server("ort-threads", (*ort, "--workers=2", "threads")),
        Server("mosec", (*mosec, f"--port={free_port()}"), "HTTP"),
    ]
    if triton_packages():
        backend, own = ((*triton, f"--port={free_port()}", form) for form in ("backend", "pytriton"))
        found.append(Server("triton", backend, "OIP", "Started GRPCInferenceService at"))
        found.append(Server("pytriton", own, "OIP"))
    return found


def triton_packages() -> list[str]:
    """What scripts/bench-serving has installed of Triton: nothing where that can't be done."""
    installed = TRITON / "requirements.txt"
    return re.findall(r"\S+==\S+", installed.read_text()) if installed.exists() else []


def free_port() -> int:
    """For a server that can't choose one by itself."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def turns(options: Options, chosen: Iterable[Server], what: str) -> Iterator[tuple[int, Running]]:
    """Each server in each round, running and warm."""
    for turn in range(options.rounds):
        for server in chosen:
            say(f"{what}, round {turn + 1} of {options.rounds}: {server.name}")
            with Running(server) as running:
                closed(running, 8, 1)
                yield turn, running


def ideals(chosen: list[Server], costs: Costs) -> Iterator[Server]:
    """The floor with as much CPU time for each call as the engine alone takes, and nothing else."""
    names = {server.name for server in chosen}
    for name in OURS:
        if {name, "floor"} <= names:
            yield Server(f"ideal-{name}", (str(BIN / "vit-floor"), f"--compute_us={compute_us(costs, name, 32):.1f}"))


def part_closed(options: Options) -> Part:
    """Closed loop at several concurrencies, and what is left of the time beside gRPC and the computation."""
    costs = {0: engine_costs()}
    chosen = [*options.servers, *ideals(options.servers, costs[0])]
    rows: list[Row] = []
    for turn, running in turns(options, chosen, "closed loop"):
        if turn not in costs:
            costs[turn] = engine_costs()
        rows += [closed(running, calls, options.duration) | {"round": turn} for calls in CONCURRENCIES]
    groups = grouped(sorted(rows, key=lambda row: row["concurrency"]), "server", "concurrency")
    keys = ("per_second", "p50_ms", "p99_ms", "server_cpu_us", "client_cpu_us", "batch_size", "memory_mb")
    table(
        ("server", "calls", "requests/s", "p50 ms", "p99 ms", "server us", "client us", "batch", "MB", "errors"),
        ((*name, *(median(g, key) for key in keys), sum(row["errors"] for row in g)) for name, g in groups.items()),
    )
    facts = list(closed_facts(groups, costs))
    lines(facts)
    return {"rows": rows, "engine_us": costs, "facts": facts}


def closed_facts(groups: Groups, costs: dict[int, Costs]) -> Iterator[Row]:
    """Our servers against the floor, each round with itself; medians."""
    for name in OURS:
        if (name, 1) not in groups or ("floor", 1) not in groups:
            continue
        for calls in CONCURRENCIES:
            pairs = list(zip(groups[name, calls], groups["floor", calls], strict=True))
            share = statistics.median(a["per_second"] / b["per_second"] for a, b in pairs)
            yield {"what": f"{name} / floor, requests/s at {calls}", "value": share}
            pairs_ideal = zip(groups[name, calls], groups[f"ideal-{name}", calls], strict=True)
            share = statistics.median(a["per_second"] / b["per_second"] for a, b in pairs_ideal)
            yield {"what": f"{name} / ideal, requests/s at {calls}", "value": share}
            if calls == 1:
                left = (1e3 * (a["p50_ms"] - b["p50_ms"]) - compute_us(costs[a["round"]], name, 1) for a, b in pairs)
                yield {"what": f"{name} - floor - computation, p50 at 1, us", "value": statistics.median(left)}
            left = (
                a["server_cpu_us"] - b["server_cpu_us"] - compute_us(costs[a["round"]], name, a["batch_size"])
                for a, b in pairs
            )
            what = f"{name} - floor - computation, server CPU at {calls}, us a request"
            yield {"what": what, "value": statistics.median(left)}
        for size in (1, 32):
            value = statistics.median(cost[f"Engine/{name}/17/{size}"] for cost in costs.values())
            yield {"what": f"{name}, the engine alone in batches of {size}, us an image", "value": value}


def part_many(options: Options) -> Part:
    """Classify, ClassifyBatch and ClassifyStream by a client that costs little, against the engine alone."""
    rows: list[Row] = []
    rates: list[Row] = []
    chosen = [server for server in options.servers if server.name in ("floor", *OURS)]
    for turn, running in turns(options, chosen, "batches and streams"):
        name = running.server.name
        if name in OURS:
            rates.append({"precision": name, "round": turn, "per_second": engine_on_all_cores(name)})
        rows += [many(running, method, calls, options.duration) | {"round": turn} for method, calls in MANY]
    engine = {name: median([rate for rate in rates if rate["precision"] == name], "per_second") for name in OURS}
    cores = len(os.sched_getaffinity(0))

    def cells(name: str, method: str, calls: int, group: list[Row]) -> tuple[object, ...]:
        rate, server = median(group, "per_second"), median(group, "server_cpu_us")
        alone = engine.get(name)
        shares = (rate / alone, 1e6 * cores / alone / server) if alone else (None, None)
        return name, method, calls, rate, shares[0], server, median(group, "client_cpu_us"), shares[1]

    table(
        ("server", "method", "calls", "images/s", "of engine", "server us", "client us", "of server's CPU"),
        (cells(*key, group) for key, group in grouped(rows, "server", "method", "calls").items()),
    )
    facts = [
        {"what": f"{name}, the engine alone on {cores} cores, images/s", "value": rate} for name, rate in engine.items()
    ]
    lines(facts)
    return {"rows": rows, "engine": rates, "facts": facts}


def capacity(options: Options) -> list[Row]:
    """The closed loop of highest concurrency, for what comes after it in the same run."""
    return [closed(running, FULL, options.duration) for _, running in turns(options, [DEFAULT], "capacity")]


def part_open(options: Options) -> Part:
    """Open loop at shares of the capacity: latency as our default batches, without batches, with a fixed delay."""
    full = capacity(options)
    peak = median(full, "per_second")
    rows: list[Row] = []
    for turn, running in turns(options, OPEN, "open loop"):
        for share in OPEN_SHARES:
            rows.append(open_loop(running, share * peak, options.duration) | {"share": share, "round": turn})
    keys = ("offered_per_second", "per_second", "p50_ms", "p99_ms", "p99.9_ms", "batch_size", "server_cpu_us")
    table(
        ("server", "of capacity", "offered/s", "answered/s", "p50 ms", "p99 ms", "p99.9 ms", "batch", "server us"),
        ((*name, *(median(g, key) for key in keys)) for name, g in grouped(rows, "server", "share").items()),
    )
    facts = [{"what": f"capacity, requests/s at {FULL}", "value": peak}]
    lines(facts)
    return {"rows": rows, "capacity": full, "facts": facts}


def part_overload(options: Options) -> Part:
    """More than the capacity, with a deadline, the server and the client on a core each: what still comes in time."""
    pinned = ("taskset", "--cpu-list", str(min(os.sched_getaffinity(0))))
    folder = ghz.ROOT / "build/serving"
    slow = (vit_server(n, f"--model={folder / n}.safetensors", "--golden=none", "--precision=f32") for n in SLOW_MS)
    chosen = [DEFAULT, Server("floor", (str(BIN / "vit-floor"),)), *slow]
    chosen = [Server(server.name, (*pinned, *server.command)) for server in chosen]
    full: list[Row] = []
    rows: list[Row] = []
    for turn, running in turns(options, chosen, "overload"):
        name = running.server.name
        deadline_ms = SLOW_MS.get(name, OVERLOAD_DEADLINE_MS)
        # A batch of the slowest takes most of a second.
        seconds = max(options.duration, 8 * deadline_ms / 1e3)
        apart(running, seconds / 4)
        full.append(apart(running, seconds) | {"round": turn})
        # The floor is sent what the first server gets: that shows what gRPC and the client carry.
        peak = full[0]["per_second"] if name == "floor" else full[-1]["per_second"]
        for times in OVERLOADS:
            row = apart(running, seconds, times * peak, deadline_ms)
            rows.append(row | {"times": times, "round": turn})
    for row in full + rows:
        row["shed"], row["late"] = (status_share(row, status) for status in ("RESOURCE_EXHAUSTED", "DEADLINE_EXCEEDED"))
    keys = ("offered_per_second", "per_second", "p50_ms", "p99_ms", "server_cores", "client_cores", "shed", "late")
    peaks = grouped(full, "server")
    groups = {(name, "64 in flight"): group for (name,), group in peaks.items()}
    groups |= {(name, f"{times:g} x capacity"): g for (name, times), g in grouped(rows, "server", "times").items()}
    table(
        ("server", "load", "sent/s", "answered/s", "p50 ms", "p99 ms", "server cores", "client cores", "shed", "late"),
        ((*name, *(median(group, key) for key in keys)) for name, group in groups.items()),
    )
    facts: list[Row] = []
    for (name, times), group in grouped(rows, "server", "times").items():
        if name != "floor":
            goodput, p99 = (median(group, key) / median(peaks[name,], key) for key in ("per_second", "p99_ms"))
            what = f"{name}, {times:g} x capacity"
            facts.append({"what": f"{what}: answered in time / the peak", "value": goodput})
            facts.append({"what": f"{what}: p99 of these answers / that of 64 in flight", "value": p99})
    lines(facts)
    return {"rows": rows, "capacity": full, "facts": facts}


def status_share(row: Row, status: str) -> float:
    """The share of all calls that ended with this status."""
    return row.get("statuses", {}).get(status, 0) / max(1, row["answers"] + row["errors"])


def part_start(options: Options) -> Part:
    """Start, memory, image, metrics: one line each."""
    say("starts")
    starts = [start_ms() for _ in range(STARTS)]
    with Running(DEFAULT) as running:
        say("memory and metrics")
        for calls in CONCURRENCIES:
            closed(running, calls, options.duration)
        resident = proc_kb(running.process.pid, "status", "VmRSS") / 1000
        before = running.cpu_seconds()
        size = [len(running.get("/metrics")) for _ in range(SCRAPES)][-1]
        scrape = 1e6 * (running.cpu_seconds() - before) / SCRAPES
    facts: list[Row] = [
        {"what": f"start to ready, median of {STARTS}, ms", "value": statistics.median(starts)},
        {"what": "resident memory after load, MB", "value": resident},
        {"what": "a scrape of /metrics, server CPU, us", "value": scrape},
        {"what": "a scrape of /metrics, bytes", "value": size},
    ]
    for case in json.loads(output([*COMMAND, "--benchmark_filter=^Metrics"]))["benchmarks"]:
        facts.append({"what": f"{case['name']}, CPU, ns a request", "value": case["cpu_time"]})
    image = image_mb()
    if image:
        facts.append({"what": "container image unpacked, MB", "value": image})
    lines(facts)
    if not image:
        print("container image: none, and it can't be built here: see build/image.log; `make image` tries again\n")
    return {"starts_ms": starts, "facts": facts}


def image_mb() -> float | None:
    """The size of the container image, which is built first if there is none; None if that fails."""
    ask = ["scripts/image", "--size"]
    said = subprocess.run(ask, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd=ghz.ROOT)
    if said.returncode:
        say("building the container image")
        with (ghz.ROOT / "build/image.log").open("w") as log:
            subprocess.run(["make", "image"], stdout=log, stderr=log, cwd=ghz.ROOT)
            said = subprocess.run(ask, stdout=subprocess.PIPE, stderr=log, cwd=ghz.ROOT)
    return int(said.stdout) / 1e6 if said.returncode == 0 else None


def start_ms() -> float:
    """From the start of the process to /readyz 200."""
    port = free_port()
    command = [*ghz.VIT_SERVER, f"--http_address=127.0.0.1:{port}"]
    started = time.perf_counter()
    server = subprocess.Popen(command, stderr=subprocess.DEVNULL, cwd=ghz.ROOT)
    try:
        while True:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz").close()
                return 1e3 * (time.perf_counter() - started)
            except OSError:
                if server.poll() is not None:
                    sys.exit("error: the server ended before it was ready")
                time.sleep(0.001)
    finally:
        ghz.stop_server(server)


PARTS = {
    "closed": part_closed,
    "many": part_many,
    "open": part_open,
    "overload": part_overload,
    "start": part_start,
}
