"""Loads on a running server, each with what it says: answers, latencies, CPU time of both sides."""

import gzip
import json
import os
import resource
import subprocess
from collections.abc import Callable, Sequence
from typing import Any

import ghz
from serving_process import REPORTS, Running

BIN = ghz.ROOT / "build/release/bin"
IMAGES = 64  # as many as ghz sends
CONNECTIONS = 8

Row = dict[str, Any]


def measured(running: Running, load: Callable[[], Row]) -> Row:
    """What a load says, with the CPU time that an image cost the server and the client, and the server's batches."""
    images, batches = running.batches()
    server, client = running.cpu_seconds(), client_cpu_seconds()
    row = load()
    server, client = running.cpu_seconds() - server, client_cpu_seconds() - client
    images_now, batches_now = running.batches()
    answered = max(1, row["answers"])
    row |= {
        "server": running.server.name,
        "command": running.server.command,
        "server_cpu_us": 1e6 * server / answered,
        "client_cpu_us": 1e6 * client / answered,
        "server_cores": server / row["seconds"],
        "client_cores": client / row["seconds"],
        "memory_mb": running.memory_mb(),
    }
    if batches_now > batches:
        row["batch_size"] = (images_now - images) / (batches_now - batches)
    return row


def client_cpu_seconds() -> float:
    """The CPU time of the clients that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def closed(running: Running, concurrency: int, seconds: float) -> Row:
    """A closed loop: as many calls in flight as `concurrency`, by ghz, or by wrk if the server speaks HTTP."""
    if running.server.protocol == "HTTP":
        row = measured(running, lambda: _wrk(running, concurrency, seconds))
    else:
        changes = _inference_calls() if running.server.protocol == "OIP" else {}
        row = measured(running, lambda: _ghz(running, f"closed-{concurrency}", duration=f"{seconds}s", **changes))
    return row | {"concurrency": concurrency}


def open_loop(running: Running, rate: float, seconds: float) -> Row:
    """Calls that begin at a rate, whatever becomes of those before, by ghz."""
    changes = {"rps": max(1, int(rate)), "duration": f"{seconds}s"}
    return measured(running, lambda: _ghz(running, "open", **changes)) | {"asked_per_second": rate}


def many(running: Running, method: str, calls: int, seconds: float) -> Row:
    """Single images, batches of 64, or streams with as many in flight, by vit-load."""
    flags = (f"--method={method}", f"--images={IMAGES}", f"--calls={calls}", f"--seconds={seconds}")
    return measured(running, lambda: _vit_load(running, flags)) | {"method": method, "calls": calls}


def apart(running: Running, seconds: float, rate: float | None = None, deadline_ms: int = 0) -> Row:
    """Calls of one image by vit-load on the last core alone: 64 in flight, or at a rate, each with a deadline."""
    flags = ["--method=one", f"--seconds={seconds}"]
    flags += [f"--calls={CONNECTIONS}", f"--rate={rate}", f"--deadline_ms={deadline_ms}"] if rate else ["--calls=64"]
    cpu = max(os.sched_getaffinity(0))
    return measured(running, lambda: _vit_load(running, flags, "taskset", "--cpu-list", str(cpu)))


def _vit_load(running: Running, flags: Sequence[str], *prefix: str) -> Row:
    said = json.loads(output([*prefix, str(BIN / "vit-load"), f"--address={running.address}", *flags]))
    said |= {"load": {"vit-load": flags}, "answers": said["images"], "errors": said["failed"]}
    said["per_second"] = said["images"] / said["seconds"]
    said["offered_per_second"] = (said["images"] + said["failed"]) / said["seconds"]
    return said


def _ghz(running: Running, name: str, **changes: object) -> Row:
    report = ghz.run_ghz(name, running.address, REPORTS, **changes)
    ok = ghz.ok_latencies_ms(report)
    seconds = report["total"] / 1e9
    row = {
        "load": {"config": name} | changes,
        "answers": len(ok),
        "errors": report["count"] - len(ok),
        "statuses": report["statusCodeDistribution"],
        "seconds": seconds,
        "per_second": len(ok) / seconds,
        "offered_per_second": report["count"] / seconds,
    }
    return row | {f"p{percent}_ms": ghz.percentile(ok, percent) for percent in ghz.PERCENTILES}


def _inference_calls() -> dict[str, str]:
    """What ghz sends to a server of the Open Inference Protocol: the same images."""
    tensor = {"name": "image", "datatype": "UINT8", "shape": [1, 28 * 28]}
    images = json.loads((ghz.CONFIGS / "images.json").read_text())
    calls = [{"model_name": "vit", "inputs": [tensor], "raw_input_contents": [each["image"]]} for each in images]
    data = REPORTS / "inference.json"
    data.write_text(json.dumps(calls))
    return {
        "proto": "tests/benchmarks/inference.proto",
        "call": "inference.GRPCInferenceService.ModelInfer",
        "data-file": str(data),
    }


def _wrk(running: Running, concurrency: int, seconds: float) -> Row:
    body = REPORTS / "images.bin"
    with gzip.open(ghz.ROOT / "tests/data/mnist/t10k-images-idx3-ubyte.gz") as file:
        body.write_bytes(file.read(16 + IMAGES * 28 * 28)[16:])
    script = ghz.ROOT / "tests/benchmarks/serving_wrk.lua"
    flags = ["--threads=1", f"--connections={concurrency}", f"--duration={max(1, round(seconds))}s"]
    url = f"http://{running.address}/inference"
    said = json.loads(output(["wrk", *flags, f"--script={script}", url, "--", str(body)]).splitlines()[-1])
    answers = said["count"] - said["errors"]
    return said | {"load": {"wrk": flags}, "answers": answers, "per_second": answers / said["seconds"]}


def output(command: Sequence[str]) -> str:
    """What a command writes to standard output; it must succeed."""
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, cwd=ghz.ROOT).stdout
