"""Calibrates a model for int8: how each matrix product's input becomes a byte.

Weights need no data: they are rounded when a model is loaded, with a scale for each output. What is written here, into
the weights file's metadata, is a scale and a zero point for the input of each of the encoder's linear layers, found on
images of the training set: of all clipping ranges, the one whose rounding and clipping together change the input least.
The same for each block's queries, keys and values, for attention in bytes.
"""

from __future__ import annotations

import argparse
import json
import pathlib

import data
import digest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from vit import VisionTransformer, VitConfig

LEVELS = 255
MIDDLE = 128


def parse_arguments() -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--data", type=pathlib.Path, required=True, help="MNIST files")
    parser.add_argument("--weights", type=pathlib.Path, default=pathlib.Path("../weights/mnist-vit.safetensors"))
    parser.add_argument("--images", type=int, default=512, help="of the training set")
    return parser.parse_args()


@torch.no_grad()
def linear_inputs(model: VisionTransformer, images: Tensor) -> dict[str, Tensor]:
    """What goes into each of the encoder's linear layers, by the layer's name."""
    found: dict[str, Tensor] = {}
    hooks = [
        layer.register_forward_pre_hook(lambda _, inputs, name=name: found.__setitem__(name, inputs[0]))
        for name, layer in model.named_modules()
        if isinstance(layer, nn.Linear) and name.startswith("blocks.")
    ]
    model.eval()(data.normalise(images))
    for hook in hooks:
        hook.remove()
    return found


def attention_parts(model: VisionTransformer, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
    """Queries, keys and values of each block, by the block's name."""
    found: dict[str, Tensor] = {}
    for name, layer in model.named_modules():
        if name.endswith(".attn.qkv"):
            with torch.no_grad():
                parts = layer(inputs[name]).chunk(3, dim=-1)
            for part, values in zip(("query", "key", "value"), parts, strict=True):
                found[name.removesuffix("qkv") + part] = values
    return found


def calibrate_symmetric(values: Tensor) -> tuple[float, int]:
    """The same with the zero point in the middle, where attention in bytes has it."""
    best: tuple[float, float] | None = None
    largest = values.abs().max().item()
    for part in torch.linspace(0.3, 1.0, 71).tolist():
        scale = part * largest / (LEVELS // 2)
        held = (values / scale).round().clamp(-MIDDLE, LEVELS - MIDDLE) * scale
        error = (held - values).square().mean().item()
        if best is None or error < best[0]:
            best = (error, scale)
    assert best is not None
    return best[1], MIDDLE


def rounded(values: Tensor, low: float, high: float) -> tuple[Tensor, float, int]:
    """The values as bytes of this range hold them, the scale and the zero point."""
    scale = (high - low) / LEVELS
    zero_point = min(LEVELS, max(0, round(-low / scale)))
    steps = (values / scale + zero_point).round().clamp(0, LEVELS)
    return (steps - zero_point) * scale, scale, zero_point


def calibrate(values: Tensor) -> tuple[float, int]:
    """The scale and zero point of the range that changes the values least."""
    best: tuple[float, float, int] | None = None
    for part in torch.linspace(0.3, 1.0, 71).tolist():
        held, scale, zero_point = rounded(values, part * values.min().item(), part * values.max().item())
        error = (held - values).square().mean().item()
        if best is None or error < best[0]:
            best = (error, scale, zero_point)
    assert best is not None
    return best[1], best[2]


def main() -> None:
    """Rewrites the weights file with the calibration in its metadata."""
    args = parse_arguments()
    with safe_open(args.weights, framework="pt") as file:
        metadata = file.metadata()
    model = VisionTransformer(VitConfig(**json.loads(metadata["vit.config"])))
    weights = load_file(args.weights)
    model.load_state_dict(weights)
    images, _ = data.load(args.data, "train")
    training, _ = data.split(len(images), seed=0)
    inputs = linear_inputs(model, images[training[: args.images]])
    attention = attention_parts(model, inputs)
    quantization = {}
    for name, values in {**inputs, **attention}.items():
        scale, zero_point = calibrate_symmetric(values) if name in attention else calibrate(values)
        quantization[name] = {"scale": scale, "zero_point": zero_point}
        print(f"{name}: {values.min():.3f} to {values.max():.3f}, scale {scale:.5f}, zero point {zero_point}")
    save_file(weights, args.weights, {**metadata, "vit.quantization": json.dumps(quantization)})
    digest.stamp(args.weights)


if __name__ == "__main__":
    main()
