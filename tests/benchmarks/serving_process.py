"""Processes under measurement: servers with all that they start, what they use, and what the clients say of them."""

import contextlib
import dataclasses
import os
import pathlib
import signal
import urllib.request
from types import TracebackType
from typing import Self

import ghz

TICKS = os.sysconf("SC_CLK_TCK")
REPORTS = ghz.ROOT / "build/serving"


@dataclasses.dataclass(frozen=True)
class Server:
    """How to start a server, what it answers images by, and what it says before its address once it is ready.

    The protocol is gRPC for classifier.proto, HTTP, or OIP for the Open Inference Protocol over gRPC.
    """

    name: str
    command: tuple[str, ...]
    protocol: str = "gRPC"
    says: str = ""  # "PROTOCOL listening on" by default


def vit_server(name: str, *flags: str) -> Server:
    return Server(name, (*ghz.VIT_SERVER, *flags))


class Running:
    """A server that runs as long as this context lasts."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.log = REPORTS / f"{server.name}.log"

    def __enter__(self) -> Self:
        says = self.server.says or f"{self.server.protocol} listening on"
        self.process, self.address = ghz.start_server(self.server.command, self.log, says)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if kind is None:
            ghz.stop_server(self.process)
        else:
            for pid in self.processes():
                os.kill(pid, signal.SIGKILL)

    def processes(self) -> list[int]:
        """The server's process and all below it."""
        children: dict[int, list[int]] = {}
        for folder in pathlib.Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):  # it has ended
                children.setdefault(int(stat_fields(folder)[1]), []).append(int(folder.name))
        found = [self.process.pid]
        for pid in found:
            found += children.get(pid, [])
        return found

    def cpu_seconds(self) -> float:
        """User and system time of all threads of all processes, those included that have ended."""
        used = (map(int, stat_fields(pathlib.Path(f"/proc/{pid}"))[11:15]) for pid in self.processes())
        return sum(map(sum, used)) / TICKS

    def memory_mb(self) -> float:
        """The memory of all processes; what they share is counted once."""
        return sum(proc_kb(pid, "smaps_rollup", "Pss") for pid in self.processes()) / 1000

    def metrics(self) -> dict[str, float]:
        """What /metrics of a vit-server says."""
        lines = self.get("/metrics").splitlines()
        return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines if line[:1] != "#")}

    def get(self, path: str) -> str:
        """What a vit-server answers over HTTP."""
        with urllib.request.urlopen(f"http://{ghz.listening('HTTP listening on', self.log)}{path}") as answer:
            return answer.read().decode()

    def batches(self) -> tuple[float, float]:
        """How many images a vit-server has computed, and in how many batches; zeros of others."""
        if ghz.VIT_SERVER[0] not in self.server.command:
            return 0, 0
        metrics = self.metrics()
        return metrics["vit_batch_size_sum"], metrics["vit_batch_size_count"]


def stat_fields(folder: pathlib.Path) -> list[str]:
    """The fields of /proc/PID/stat that follow the process's name: its state is 0, its parent 1, its times 11 to 14."""
    return (folder / "stat").read_text().rpartition(")")[2].split()


def proc_kb(pid: int, file: str, field: str) -> float:
    """A field of /proc/PID/FILE that is given in kB, in thousands of bytes."""
    for line in pathlib.Path(f"/proc/{pid}/{file}").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1.024
    raise ValueError(f"/proc/{pid}/{file} has no {field}")
