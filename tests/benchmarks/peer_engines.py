"""Peers behind one interface, each in a process of its own, pinned to one core and with one thread."""

from __future__ import annotations

import dataclasses
import multiprocessing
import multiprocessing.connection
import os
import shutil
import time
from collections.abc import Callable

import numpy as np
import peer_models
from peer_models import Case
from vit_bench import Time

# Computes a fixed batch and returns its logits.
Run = Callable[[], np.ndarray]
# Makes a Run for a case from the place of its input, which the caller may overwrite.
Make = Callable[[Case, np.ndarray], Run]


def _onnxruntime(name: str) -> Make:
    def make(case: Case, images: np.ndarray) -> Run:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        session = onnxruntime.InferenceSession(case.file(name), options, providers=["CPUExecutionProvider"])
        bound = session.io_binding()
        bound.bind_ortvalue_input("images", onnxruntime.OrtValue.ortvalue_from_numpy(images))
        bound.bind_output("logits", "cpu")

        def run() -> np.ndarray:
            session.run_with_iobinding(bound)
            return bound.get_outputs()[0].numpy()

        return run

    return make


def _openvino(name: str, precision: str) -> Make:
    def make(case: Case, images: np.ndarray) -> Run:
        import openvino

        settings = {
            "INFERENCE_NUM_THREADS": 1,
            "NUM_STREAMS": 1,
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": precision,
        }
        request = openvino.Core().compile_model(case.file(name), "CPU", settings).create_infer_request()
        request.set_input_tensor(openvino.Tensor(images, shared_memory=True))

        def run() -> np.ndarray:
            request.infer()
            return request.get_output_tensor().data

        return run

    return make


def _torch(compiled: bool) -> Make:
    def make(case: Case, images: np.ndarray) -> Run:
        import torch

        torch.set_num_threads(1)
        model = peer_models.network(case.tokens)
        tensor = torch.from_numpy(images)
        if compiled:
            import torch._inductor.config

            torch._inductor.config.freezing = True
            model = torch.compile(model)

        def run() -> np.ndarray:
            with torch.inference_mode():
                return model(tensor).numpy()

        return run

    return make


@dataclasses.dataclass(frozen=True)
class Peer:
    """How to make an engine, and what it is to be compared with."""

    make: Make
    exact: bool  # f32: its logits must equal ours
    file: str = ""  # of peer_models.write_files


PEERS = {
    "openvino-f32": Peer(_openvino("onnx", "f32"), True, "onnx"),
    "openvino-bf16": Peer(_openvino("onnx", "bf16"), False, "onnx"),
    "openvino-int8": Peer(_openvino("int8.xml", "f32"), False, "int8.xml"),
    "openvino-int8-bf16": Peer(_openvino("int8.xml", "bf16"), False, "int8.xml"),
    "onnxruntime-f32": Peer(_onnxruntime("onnx"), True, "onnx"),
    "onnxruntime-int8": Peer(_onnxruntime("int8.onnx"), False, "int8.onnx"),
    "torch-eager": Peer(_torch(compiled=False), True),
    "torch-compile": Peer(_torch(compiled=True), True),
}


def missing(name: str) -> str:
    """Says what a peer lacks on this machine; empty if nothing."""
    if name == "torch-compile" and not shutil.which("g++"):
        return "there is no g++"
    if name.endswith("bf16"):
        import openvino

        if "BF16" not in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
            return "the CPU has no bf16"
    return ""


def _measure(run: Run, batch: int, seconds: float) -> Time:
    """Means of the calls of some seconds, after a tenth of that to warm the caches that others have filled."""
    for duration in (seconds / 10, seconds):
        calls = 0
        wall, cpu = time.perf_counter(), time.process_time()
        while calls == 0 or time.perf_counter() - wall < duration:
            run()
            calls += 1
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return Time(wall, cpu).over(calls * batch)


def _serve(connection: multiprocessing.connection.Connection, name: str, cases: list[Case], core: int) -> None:
    os.sched_setaffinity(0, {core})
    places, runs = {}, {}
    try:
        for case in cases:
            places[case] = peer_models.inputs(case.tokens, 0, case.batch).copy()
            runs[case] = PEERS[name].make(case, places[case])
            runs[case]()
        connection.send(None)
        while asked := connection.recv():
            case, seconds, images = asked
            if images is not None:
                np.copyto(places[case], images)
                connection.send(runs[case]().copy())
            else:
                connection.send(_measure(runs[case], case.batch, seconds))
    except EOFError:
        pass  # Nobody asks any more.
    except Exception as error:
        connection.send(error if isinstance(error, RuntimeError) else RuntimeError(repr(error)))


class Worker:
    """A peer's process. It computes nothing unless asked; a failure there is a RuntimeError here."""

    def __init__(self, name: str, cases: list[Case], core: int) -> None:
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, name, cases, core), daemon=True)
        self._process.start()
        theirs.close()
        self._receive()

    def _receive(self):
        try:
            answer = self._connection.recv()
        except EOFError:
            self._process.join()
            raise RuntimeError(f"its process ended with exit code {self._process.exitcode}") from None
        if isinstance(answer, RuntimeError):
            raise answer
        return answer

    def logits(self, case: Case, images: np.ndarray) -> np.ndarray:
        """Returns the answers to one batch."""
        self._connection.send((case, 0, images))
        return self._receive()

    def measure(self, case: Case, seconds: float) -> Time:
        """Computes the same batch for some seconds."""
        self._connection.send((case, seconds, None))
        return self._receive()

    def close(self) -> None:
        """Ends the process."""
        self._connection.send(None)
        self._process.join()
