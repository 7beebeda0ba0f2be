"""Starts servers and loads them with ghz: what scripts/load and the serving benchmark share."""

import json
import math
import pathlib
import re
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import Any

ROOT = pathlib.Path(__file__).resolve().parent.parent
CONFIGS = ROOT / "deploy/ghz"
PERCENTILES = (50, 90, 99, 99.9)
VIT_SERVER = (
    str(ROOT / "build/release/bin/vit-server"),
    "--address=127.0.0.1:0",
    "--http_address=127.0.0.1:0",
    "--admin_address=",
    "--debug_address=",
    "--lame_duck_seconds=0",
)

Report = dict[str, Any]


def start_server(
    command: Sequence[str], log_path: pathlib.Path, says: str = "gRPC listening on"
) -> tuple[subprocess.Popen[bytes], str]:
    """Starts a server that says these words and its address once it is ready; returns its process and the address."""
    with log_path.open("w") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log, cwd=ROOT)
    for _ in range(1200):
        address = listening(says, log_path)
        if address:
            return server, address
        if server.poll() is not None:
            break
        time.sleep(0.05)
    server.kill()
    sys.exit(f"error: the server did not start; see {log_path}")


def listening(says: str, log_path: pathlib.Path) -> str:
    """The address that follows these words in a server's log; empty if they are not there yet."""
    found = re.search(rf"{re.escape(says)} ([^\s\"]+)", log_path.read_text())
    return found.group(1) if found else ""


def stop_server(server: subprocess.Popen[bytes]) -> None:
    """Asks a server to stop and exits with an error unless it ends with exit code 0."""
    server.terminate()
    if server.wait(timeout=60):
        sys.exit(f"error: the server ended with exit code {server.returncode} after SIGTERM, expected 0")


def run_ghz(name: str, address: str, folder: pathlib.Path, **changes: object) -> Report:
    """Runs a configuration of deploy/ghz, with values changed, and returns ghz's report, which folder keeps too."""
    config = json.loads((CONFIGS / f"{name}.json").read_text()) | changes
    config["proto"] = str(ROOT / config["proto"])
    config["data-file"] = str(ROOT / config["data-file"])
    config["host"] = address
    config["format"] = "json"
    config["output"] = str(folder / f"{name}.json")
    used = folder / f"{name}.config.json"
    used.write_text(json.dumps(config, indent=2))
    ghz = ROOT / "build/deps/bin/ghz"
    result = subprocess.run([ghz, "--config", used], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if result.returncode:
        sys.exit(f"error: ghz failed for {name}:\n{result.stdout}")
    return json.loads(pathlib.Path(config["output"]).read_text())


def percentile(ordered: Sequence[float], percent: float) -> float:
    """The smallest value that at least `percent` of the values do not exceed."""
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)] if ordered else math.nan


def ok_latencies_ms(report: Report) -> list[float]:
    """The latencies of the answers with status OK, in ascending order."""
    return sorted(each["latency"] / 1e6 for each in report.get("details") or [] if each["status"] == "OK")
