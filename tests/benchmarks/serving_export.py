"""Writes the networks of the serving benchmark: the trained one as an ONNX file that takes any number of images,
checked against PyTorch, and slow ones of random weights, for vit-server to be overloaded with."""

import pathlib
import sys

import numpy as np
import onnxruntime
import torch
from peer_models import TRAINED_TOKENS, inputs, network, reference_logits

CHECKED_IMAGES = 64
TOLERANCE = 1e-4
# Both of 197 tokens; otherwise the trained network's shape, and ViT-Ti's.
SLOW = {
    "slow": {"patch_size": 2},
    "slower": {"patch_size": 2, "width": 192, "depth": 12, "heads": 3, "mlp_width": 768},
}


def write_slow(folder: pathlib.Path) -> None:
    import golden
    from vit import VisionTransformer, VitConfig

    for name, shape in SLOW.items():
        torch.manual_seed(1)
        model = VisionTransformer(VitConfig(**shape)).eval()
        normalisation = golden.Normalisation([0.1307], [0.3081])
        golden.save_model(folder / f"{name}.safetensors", model, normalisation, name, "1")


def write_trained(path: pathlib.Path) -> None:
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


def main() -> None:
    if len(sys.argv) != 2 or sys.argv[1].startswith("-"):
        sys.exit("usage: serving_export.py FOLDER")
    folder = pathlib.Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    write_slow(folder)
    write_trained(folder / f"{TRAINED_TOKENS}.onnx")


if __name__ == "__main__":
    main()
