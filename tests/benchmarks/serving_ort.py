"""Serves vit.v1.Classifier from Python over ONNX Runtime: what the same model costs behind grpcio.

Form `aio`: grpc.aio; whatever waits when a worker is free becomes one batch. Form `threads`: grpc.server with a thread
pool, one image a run. Sessions compute on one thread each, and there are as many at work as CPUs.
"""

import argparse
import asyncio
import concurrent.futures
import importlib
import pathlib
import signal
import socket
import subprocess
import sys
import time
from typing import Any

import grpc
import numpy as np
from grpc_tools import protoc
from serving_model import MAX_BATCH, Model

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
PROTO_OUT = ROOT / "build/serving/proto"


def load_proto() -> tuple[Any, Any]:
    """Compiles the contract and returns its messages and services."""
    PROTO_OUT.mkdir(parents=True, exist_ok=True)
    contract = "vit/v1/classifier.proto"
    flags = [f"--proto_path={ROOT / 'proto'}", f"--python_out={PROTO_OUT}", f"--grpc_python_out={PROTO_OUT}", contract]
    if protoc.main(["protoc", *flags]):
        sys.exit(f"error: cannot compile {contract}")
    sys.path.insert(0, str(PROTO_OUT))
    return importlib.import_module("vit.v1.classifier_pb2"), importlib.import_module("vit.v1.classifier_pb2_grpc")


messages, services = load_proto()


def answer(probabilities: np.ndarray, arrived: float, started: float, ended: float, size: int) -> Any:
    label = int(probabilities.argmax())
    return messages.ClassifyResponse(
        label=label,
        confidence=probabilities[label],
        probabilities=probabilities,
        timing=messages.Timing(
            queue_seconds=started - arrived,
            inference_seconds=ended - started,
            total_seconds=time.perf_counter() - arrived,
            batch_size=size,
        ),
    )


class ThreadsService(services.ClassifierServicer):
    def __init__(self, model: Model) -> None:
        self.model = model

    def Classify(self, request: Any, context: grpc.ServicerContext) -> Any:
        started = time.perf_counter()
        (probabilities,) = self.model.run([request.image])
        return answer(probabilities, started, started, time.perf_counter(), 1)


class AioService(services.ClassifierServicer):
    def __init__(self, model: Model, workers: int) -> None:
        self.model = model
        self.waiting: asyncio.Queue[tuple[bytes, float, asyncio.Future[Any]]] = asyncio.Queue()
        self.pool = concurrent.futures.ThreadPoolExecutor(workers)
        self.workers = [asyncio.create_task(self.work()) for _ in range(workers)]

    async def Classify(self, request: Any, context: grpc.aio.ServicerContext) -> Any:
        future = asyncio.get_running_loop().create_future()
        self.waiting.put_nowait((request.image, time.perf_counter(), future))
        return answer(*await future)

    async def work(self) -> None:
        while True:
            batch = [await self.waiting.get()]
            while len(batch) < MAX_BATCH and not self.waiting.empty():
                batch.append(self.waiting.get_nowait())
            started = time.perf_counter()
            images = [image for image, _, _ in batch]
            results = await asyncio.get_running_loop().run_in_executor(self.pool, self.model.run, images)
            ended = time.perf_counter()
            for (_, arrived, future), probabilities in zip(batch, results, strict=True):
                if not future.done():
                    future.set_result((probabilities, arrived, started, ended, len(batch)))


async def serve_aio(model: Model, workers: int, port: int) -> None:
    server = grpc.aio.server()
    services.add_ClassifierServicer_to_server(AioService(model, workers), server)
    announce(server.add_insecure_port(f"127.0.0.1:{port}"))
    await server.start()
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    await stop.wait()
    await server.stop(grace=1)


def serve_threads(model: Model, workers: int, port: int) -> None:
    server = grpc.server(concurrent.futures.ThreadPoolExecutor(workers))
    services.add_ClassifierServicer_to_server(ThreadsService(model), server)
    announce(server.add_insecure_port(f"127.0.0.1:{port}"))
    server.start()
    signal.sigwait([signal.SIGTERM])
    server.stop(grace=1).wait()


def announce(port: int) -> None:
    print(f"gRPC listening on 127.0.0.1:{port}", file=sys.stderr, flush=True)


def serve_processes(count: int) -> None:
    """Runs this program in as many processes, which share one port."""
    with socket.socket() as reserved:
        reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        reserved.bind(("127.0.0.1", 0))
        port = reserved.getsockname()[1]
        command = [sys.executable, *sys.argv, "--processes=1", f"--port={port}"]
        processes = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(count)]
        for process in processes:
            if not process.stderr or "listening" not in process.stderr.readline():
                sys.exit("error: a process did not start")
        announce(port)
        signal.sigwait([signal.SIGTERM])
        for process in processes:
            process.terminate()
        sys.exit(max(process.wait() for process in processes))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("form", choices=("aio", "threads"))
    parser.add_argument("--model", required=True, help="the network as an ONNX file")
    parser.add_argument("--workers", type=int, default=2, help="threads that compute, of each process (%(default)s)")
    parser.add_argument("--processes", type=int, default=1, help="that share the port (%(default)s)")
    parser.add_argument("--port", type=int, default=0, help="0: one that is free")
    options = parser.parse_args()
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
    if options.processes > 1:
        serve_processes(options.processes)
    model = Model(options.model)
    if options.form == "aio":
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])
        asyncio.run(serve_aio(model, options.workers, options.port))
    else:
        serve_threads(model, options.workers, options.port)


if __name__ == "__main__":
    main()
