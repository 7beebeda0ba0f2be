"""Looks once at the test set: accuracy, confusion matrix, each image's label."""

from __future__ import annotations

import argparse
import json
import pathlib

import data
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from vit import VisionTransformer, VitConfig


def parse_arguments() -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--data", type=pathlib.Path, required=True, help="MNIST files")
    parser.add_argument(
        "--weights",
        type=pathlib.Path,
        default=pathlib.Path("../weights/mnist-vit.safetensors"),
    )
    parser.add_argument("--predictions", type=pathlib.Path, help="file to write a label a line to")
    return parser.parse_args()


@torch.no_grad()
def main() -> None:
    """Prints what the model card says."""
    args = parse_arguments()
    with safe_open(args.weights, framework="pt") as file:
        config = VitConfig(**json.loads(file.metadata()["vit.config"]))
    model = VisionTransformer(config)
    model.load_state_dict(load_file(args.weights))
    model.eval()
    images, labels = data.load(args.data, "t10k")
    parts = [model(data.normalise(part)).argmax(1) for part in images.split(1000)]
    found = torch.cat(parts)
    correct = int((found == labels).sum())
    print(f"{correct} of {len(labels)} right: {100 * correct / len(labels):.2f} %")
    confusion = torch.zeros(config.classes, config.classes, dtype=torch.int64)
    confusion.index_put_((labels, found), torch.tensor(1), accumulate=True)
    print("label \\ found " + "".join(f"{i:6}" for i in range(config.classes)))
    for label, row in enumerate(confusion.tolist()):
        print(f"{label:13} " + "".join(f"{count:6}" for count in row))
    if args.predictions:
        lines = "".join(f"{label}\n" for label in found.tolist())
        args.predictions.write_text(lines)


if __name__ == "__main__":
    main()
