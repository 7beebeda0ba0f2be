"""Writes the trained model's files: weights, golden images, golden attention."""

from __future__ import annotations

import argparse
import pathlib

import data
import digest
import golden
import torch
from safetensors.torch import save_file
from vit import VisionTransformer, VitConfig

GOLDEN_IMAGES = 64


def parse_arguments() -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--data", type=pathlib.Path, required=True, help="MNIST files")
    parser.add_argument("--checkpoint", type=pathlib.Path, required=True)
    parser.add_argument("--name", default="mnist-vit", help="of the model")
    parser.add_argument("--version", default="1", help="of the model")
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("../weights"))
    parser.add_argument(
        "--attention-out",
        type=pathlib.Path,
        default=pathlib.Path("../../tests/data/golden/attention.safetensors"),
    )
    return parser.parse_args()


def main() -> None:
    """Writes NAME.safetensors, NAME.golden.safetensors and the attention."""
    args = parse_arguments()
    checkpoint = torch.load(args.checkpoint, weights_only=True)
    model = VisionTransformer(VitConfig(**checkpoint["config"]))
    model.load_state_dict(checkpoint["best"])
    model.eval()
    normalisation = golden.Normalisation([data.MEAN], [data.STD])

    images, labels = data.load(args.data, "t10k")
    images = images[:GOLDEN_IMAGES].unsqueeze(-1)
    logits, attention = golden.answers(model, normalisation, images)

    args.out.mkdir(parents=True, exist_ok=True)
    args.attention_out.parent.mkdir(parents=True, exist_ok=True)
    weights_path = args.out / f"{args.name}.safetensors"
    golden.save_model(weights_path, model, normalisation, args.name, args.version)
    golden_path = args.out / f"{args.name}.golden.safetensors"
    golden.save_golden(golden_path, images, labels[:GOLDEN_IMAGES], logits)
    for path in (weights_path, golden_path):
        digest.stamp(path)
    save_file(
        {"attention": attention.contiguous(), "rollout": golden.rollout(attention)},
        args.attention_out,
    )
    print(f"wrote {weights_path}, {golden_path} and {args.attention_out}")


if __name__ == "__main__":
    main()
