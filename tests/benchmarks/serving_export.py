"""Writes the trained network as an ONNX file that takes any number of images, and checks it against PyTorch."""

import pathlib
import sys

import numpy as np
import onnxruntime
import torch
from peer_models import TRAINED_TOKENS, inputs, network, reference_logits

CHECKED_IMAGES = 64
TOLERANCE = 1e-4


def main() -> None:
    if len(sys.argv) != 2 or sys.argv[1].startswith("-"):
        sys.exit("usage: serving_export.py FILE.onnx")
    path = pathlib.Path(sys.argv[1])
    path.parent.mkdir(parents=True, exist_ok=True)
    images = inputs(TRAINED_TOKENS, 0, CHECKED_IMAGES)
    torch.onnx.export(
        network(TRAINED_TOKENS),
        (torch.from_numpy(images),),
        path,
        input_names=["images"],
        output_names=["logits"],
        dynamic_shapes=({0: torch.export.Dim("count", min=1, max=1024)},),
        external_data=False,
        dynamo=True,
        verbose=False,
    )
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (logits,) = session.run(None, {"images": images})
    error = np.abs(logits - reference_logits(TRAINED_TOKENS, CHECKED_IMAGES)).max()
    if not error < TOLERANCE:
        path.unlink()
        sys.exit(f"error: the logits of {path} are up to {error:.1e} off PyTorch's, expected less than {TOLERANCE:.0e}")


if __name__ == "__main__":
    main()
