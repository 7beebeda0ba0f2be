"""Serves the model over HTTP with mosec and ONNX Runtime: POST /inference takes 784 bytes and answers with JSON.

A worker process for each CPU; what waits when one is free becomes one batch.
"""

import argparse
import http.client
import os
import sys
import threading
import time
from typing import Any

import mosec
from serving_model import MAX_BATCH, Model

WORKERS = 2


class Classify(mosec.Worker):
    def __init__(self) -> None:
        super().__init__()
        self.model = Model(os.environ["MODEL"])

    def deserialize(self, data: bytes) -> bytes:
        return data

    def forward(self, data: list[bytes]) -> list[dict[str, Any]]:
        started = time.perf_counter()
        results = self.model.run(data)
        seconds = time.perf_counter() - started
        return [
            {
                "label": int(probabilities.argmax()),
                "confidence": float(probabilities.max()),
                "probabilities": probabilities.tolist(),
                "timing": {"inference_seconds": seconds, "batch_size": len(data)},
            }
            for probabilities in results
        ]


def announce(port: int) -> None:
    """Says where the server listens as soon as it answers."""
    while True:
        try:
            connection = http.client.HTTPConnection("127.0.0.1", port)
            connection.request("POST", "/inference", bytes(28 * 28))
            if connection.getresponse().status == 200:
                break
        except OSError:
            pass
        time.sleep(0.05)
    print(f"HTTP listening on 127.0.0.1:{port}", file=sys.stderr, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="the network as an ONNX file")
    parser.add_argument("--port", type=int, required=True)
    options = parser.parse_args()
    os.environ["MODEL"] = options.model
    # mosec reads the command line too. By default a batch would wait for others for 10 ms.
    sys.argv[1:] = ["--address=127.0.0.1", f"--port={options.port}", "--wait=0"]
    threading.Thread(target=announce, args=(options.port,), daemon=True).start()
    server = mosec.Server()
    server.append_worker(Classify, num=WORKERS, max_batch_size=MAX_BATCH)
    server.run()


if __name__ == "__main__":
    main()
