"""Writes small models with random weights, for the tests of other shapes."""

from __future__ import annotations

import argparse
import pathlib

import golden
import torch
from torch import nn
from vit import VisionTransformer, VitConfig

_MODELS = {
    # Mean pooling without a class token, and no bias where none need be.
    "tiny-mean": VitConfig(
        patch_size=4,
        width=32,
        depth=2,
        heads=2,
        mlp_width=64,
        class_token=False,
        pool="avg",
        qkv_bias=False,
    ),
    # Colour, another size of image, and a head width that is no power of two.
    "tiny-colour": VitConfig(
        image_size=32,
        channels=3,
        patch_size=8,
        width=36,
        depth=1,
        heads=3,
        mlp_width=80,
        classes=5,
    ),
}
_IMAGES = 8


def randomise(model: VisionTransformer, generator: torch.Generator) -> None:
    """Weights large enough that every part of the network shows in the logits."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            is_norm_weight = "norm" in name and name.endswith("weight")
            fan_in = parameter[0].numel() if parameter.ndim > 1 else 4
            noise = torch.randn(parameter.shape, generator=generator) / fan_in**0.5
            parameter.copy_(1.0 + 0.3 * noise if is_norm_weight else 1.5 * noise)
        nn.init.normal_(model.pos_embed, std=0.5, generator=generator)


def main() -> None:
    """Writes NAME.safetensors and NAME.golden.safetensors for each model."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("../../tests/data/golden"))
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    for seed, (name, config) in enumerate(_MODELS.items()):
        generator = torch.Generator().manual_seed(seed)
        model = VisionTransformer(config)
        randomise(model, generator)
        channels = config.channels
        normalisation = golden.Normalisation(
            [0.4 + 0.05 * c for c in range(channels)],
            [0.3 - 0.02 * c for c in range(channels)],
        )
        shape = (_IMAGES, config.image_size, config.image_size, channels)
        images = torch.randint(0, 256, shape, generator=generator).to(torch.uint8)
        logits, _ = golden.answers(model, normalisation, images)
        golden.save_model(args.out / f"{name}.safetensors", model, normalisation, name, "1")
        golden.save_golden(args.out / f"{name}.golden.safetensors", images, None, logits)
        print(f"wrote {name}: logits spread {logits.std(dim=0).mean():.3f}")


if __name__ == "__main__":
    main()
