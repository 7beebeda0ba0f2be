"""Serves the model by Triton and ONNX Runtime over the Open Inference Protocol (gRPC).

Form `backend`: Triton's Python backend, with a process for each instance of the model. Form `pytriton`: functions of
one Python process, which that backend calls. In both Triton's dynamic batcher makes one batch of what waits when an
instance is free; instances compute on one thread each, and there are as many as CPUs.
"""

import argparse
import os
import pathlib
import shutil
import signal
import socket
import sys

import numpy as np
import pytriton
from pytriton.decorators import batch
from pytriton.model_config import DynamicBatcher, ModelConfig, Tensor
from pytriton.triton import Triton, TritonConfig
from serving_model import MAX_BATCH, Model

HERE = pathlib.Path(__file__).resolve().parent
FOLDER = HERE.parents[1] / "build/serving/triton"
ADDRESS = "127.0.0.1"
PIXELS, CLASSES = 28 * 28, 10


def become_backend(model: pathlib.Path, instances: int, port: int) -> None:
    """Writes a model repository for serving_triton_model.py and turns this process into the server of it."""
    package = pathlib.Path(pytriton.__file__).parent
    triton = package / "tritonserver"
    shutil.rmtree(FOLDER, ignore_errors=True)
    shutil.copytree(triton / "backends", FOLDER / "backends")
    stub = "triton_python_backend_stub"
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    shutil.copy(triton / "python_backend_stubs" / version / stub, FOLDER / "backends/python" / stub)
    (FOLDER / "models/vit/1").mkdir(parents=True)
    (FOLDER / "models/vit/1/model.py").symlink_to(HERE / "serving_triton_model.py")
    (FOLDER / "models/vit/config.pbtxt").write_text(
        f"""
        backend: "python"
        max_batch_size: {MAX_BATCH}
        dynamic_batching {{}}
        instance_group {{ kind: KIND_CPU count: {instances} }}
        input {{ name: "image" data_type: TYPE_UINT8 dims: {PIXELS} }}
        output {{ name: "probabilities" data_type: TYPE_FP32 dims: {CLASSES} }}
        parameters {{ key: "model" value {{ string_value: "{model}" }} }}
        parameters {{ key: "sources" value {{ string_value: "{HERE}" }} }}
        """
    )
    environment = os.environ | {
        "LD_LIBRARY_PATH": str(package.with_name("nvidia_pytriton.libs")),
        "PATH": f"{sys.exec_prefix}/bin:{os.environ['PATH']}",
    }
    flags = [
        f"--model-repository={FOLDER / 'models'}",
        f"--backend-directory={FOLDER / 'backends'}",
        f"--grpc-address={ADDRESS}",
        f"--grpc-port={port}",
        "--allow-http=false",
        "--allow-metrics=false",
    ]
    os.execve(triton / "bin/tritonserver", ["tritonserver", *flags], environment)


class Instance:
    """One instance of the model: the function that pytriton calls with a batch."""

    def __init__(self, path: pathlib.Path) -> None:
        self.model = Model(str(path))

    @batch
    def __call__(self, image: np.ndarray) -> dict[str, np.ndarray]:
        return {"probabilities": self.model.run_pixels(image)}


def serve_pytriton(model: pathlib.Path, instances: int, port: int) -> None:
    # It asks Triton over HTTP whether the model is ready.
    with socket.socket() as probe:
        probe.bind((ADDRESS, 0))
        http_port = probe.getsockname()[1]
    config = TritonConfig(
        grpc_address=ADDRESS, grpc_port=port, http_address=ADDRESS, http_port=http_port, allow_metrics=False
    )
    # Threads inherit the mask, so that the signal waits for sigwait.
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
    with Triton(config=config) as triton:
        triton.bind(
            model_name="vit",
            infer_func=[Instance(model) for _ in range(instances)],
            inputs=[Tensor(name="image", dtype=np.uint8, shape=(PIXELS,))],
            outputs=[Tensor(name="probabilities", dtype=np.float32, shape=(CLASSES,))],
            config=ModelConfig(max_batch_size=MAX_BATCH, batcher=DynamicBatcher()),
        )
        triton.run()
        print(f"OIP listening on {ADDRESS}:{port}", file=sys.stderr, flush=True)
        signal.sigwait([signal.SIGTERM])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("form", choices=("backend", "pytriton"))
    parser.add_argument("--model", type=pathlib.Path, required=True, help="the network as an ONNX file")
    parser.add_argument("--instances", type=int, default=2, help="of the model (%(default)s)")
    parser.add_argument("--port", type=int, required=True)
    options = parser.parse_args()
    serve = become_backend if options.form == "backend" else serve_pytriton
    serve(options.model.resolve(), options.instances, options.port)


if __name__ == "__main__":
    main()
