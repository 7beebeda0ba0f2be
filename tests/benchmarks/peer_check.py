"""Whether all engines compute the same network."""

from __future__ import annotations

import pathlib
import re
import subprocess
import tempfile
import time
from typing import Any

import numpy as np
import peer_models
from peer_engines import PEERS, Worker
from peer_models import CHECKED_IMAGES, ROOT, TRAINED_TOKENS, Case

TOLERANCE = 1e-4
AGREEMENT = 0.95
_CALL_IMAGES = 32


def _log_softmax(logits: np.ndarray) -> np.ndarray:
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))


def _wait_for_address(server: subprocess.Popen, log: pathlib.Path) -> str:
    deadline = time.monotonic() + 60
    while server.poll() is None and time.monotonic() < deadline:
        if found := re.search(r"gRPC listening on ([^\s\"]+)", log.read_text()):
            return found.group(1)
        time.sleep(0.05)
    raise RuntimeError(f"vit-server did not start:\n{log.read_text()}")


def _messages() -> dict[str, type]:
    """Returns the message classes of classifier.proto by full name.

    Generated modules would be those of a package `vit`, as the training's module is called.
    """
    from google.protobuf import descriptor_pb2, message_factory
    from grpc_tools import protoc

    with tempfile.NamedTemporaryFile() as file:
        command = ["protoc", f"-I{ROOT / 'proto'}", f"--descriptor_set_out={file.name}", "vit/v1/classifier.proto"]
        if protoc.main(command):
            raise RuntimeError("protoc failed for classifier.proto")
        return message_factory.GetMessages(descriptor_pb2.FileDescriptorSet.FromString(file.read()).file)


def _ask_server(precision: str, images: np.ndarray) -> np.ndarray:
    """Returns the logarithms of the probabilities that a vit-server of this precision answers."""
    import grpc

    messages = _messages()
    request_type = messages["vit.v1.ClassifyBatchRequest"]
    response_type = messages["vit.v1.ClassifyBatchResponse"]
    command = [ROOT / "build/release/bin/vit-server", "--address=127.0.0.1:0", "--http_address=127.0.0.1:0"]
    command += ["--admin_address=", "--debug_address="]
    with tempfile.NamedTemporaryFile("w") as log:
        server = subprocess.Popen([*command, f"--precision={precision}"], stderr=log, cwd=ROOT)
        try:
            probabilities = []
            with grpc.insecure_channel(_wait_for_address(server, pathlib.Path(log.name))) as channel:
                classify = channel.unary_unary(
                    "/vit.v1.Classifier/ClassifyBatch",
                    request_serializer=request_type.SerializeToString,
                    response_deserializer=response_type.FromString,
                )
                for part in np.split(images, len(images) // _CALL_IMAGES):
                    answer = classify(request_type(images=[image.tobytes() for image in part]), timeout=60)
                    probabilities += [list(result.probabilities) for result in answer.results]
        finally:
            server.terminate()
            server.wait()
    return np.log(np.array(probabilities))


def _ask_worker(worker: Worker, case: Case, count: int) -> np.ndarray:
    parts = np.split(peer_models.inputs(case.tokens, 0, count), count // case.batch)
    return _log_softmax(np.concatenate([worker.logits(case, part) for part in parts]))


def _print(rows: list[dict[str, Any]]) -> None:
    """One line an engine, one column a network, with the worst of its batch sizes."""
    networks = sorted({row["tokens"] for row in rows})
    print("How far log-probabilities are off at most, and the share of equal labels. 17 tokens are compared")
    print(f"with vit-server's f32 on {CHECKED_IMAGES} MNIST test images; more, of random weights, with PyTorch.\n")
    print(f"{'':<26}" + "".join(f"{f'{tokens} tokens':>22}" for tokens in networks))
    for engine in dict.fromkeys(row["engine"] for row in rows):
        line = f"{engine:<26}"
        for tokens in networks:
            cells = [row for row in rows if (row["engine"], row["tokens"]) == (engine, tokens)]
            if cells:
                off, same = max(row["off"] for row in cells), min(row["same_labels"] for row in cells)
                line += f"{f'{off:.1e}, {same:.1%}':>22}"
        print(line)
    print(flush=True)


def check(workers: dict[str, Worker], cases: list[Case]) -> list[dict[str, Any]]:
    """Prints and returns how all engines' answers compare; raises RuntimeError if they are not the same network's.

    `cases` are those that the workers know.
    """
    images = peer_models.test_images()[:CHECKED_IMAGES]
    expected = {TRAINED_TOKENS: _ask_server("f32", images)}
    rows = []

    def compare(engine: str, case: Case, exact: bool, found: np.ndarray) -> None:
        wanted = expected[case.tokens][: len(found)]
        off = float(np.abs(found - wanted).max())
        same = float((found.argmax(axis=1) == wanted.argmax(axis=1)).mean())
        # The labels of a network of random weights mean nothing.
        ok = off <= TOLERANCE if exact else same >= AGREEMENT or case.tokens != TRAINED_TOKENS
        what = {"engine": engine, "tokens": case.tokens, "batch": case.batch, "images": len(found)}
        rows.append({**what, "off": off, "same_labels": same, "ok": ok})

    compare("ours-int8", Case(TRAINED_TOKENS, _CALL_IMAGES), False, _ask_server("int8", images))
    for case in cases:
        count = CHECKED_IMAGES
        if case.tokens != TRAINED_TOKENS:
            count = case.batch
            expected[case.tokens] = _log_softmax(peer_models.reference_logits(case.tokens, count))
        for name, worker in workers.items():
            compare(name, case, PEERS[name].exact, _ask_worker(worker, case, count))
    _print(rows)
    if wrong := [f"{row['engine']} in {row['tokens']}/{row['batch']}" for row in rows if not row["ok"]]:
        raise RuntimeError(
            f"not the same network: {', '.join(wrong)}; log-probabilities of f32 may be off by {TOLERANCE}, "
            f"and others must find {AGREEMENT:.0%} of the labels"
        )
    return rows
