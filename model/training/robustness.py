"""Tells how many digits a model still reads under each of fifteen corruptions."""

from __future__ import annotations

import argparse
import pathlib
import statistics

import corruptions
import data
import models
import torch
from torch import Tensor, nn


def parse_arguments() -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("models", type=pathlib.Path, nargs="+", help="checkpoints or weights files")
    parser.add_argument("--data", type=pathlib.Path, required=True, help="MNIST files")
    parser.add_argument(
        "--part",
        choices=("validation", "t10k"),
        default="validation",
        help="the images; decide by validation, look at the test set (t10k) at the end",
    )
    parser.add_argument("--weights", choices=("best", "average", "model"), default="best", help="of a checkpoint")
    parser.add_argument("--images", type=int, default=10_000, help="at most so many")
    parser.add_argument("--seed", type=int, default=0, help="of the corruptions")
    return parser.parse_args()


@torch.no_grad()
def accuracy(model: nn.Module, images: Tensor, labels: Tensor) -> float:
    """Per cent of u8 [N, 28, 28] that the model labels right."""
    found = torch.cat([model(data.normalise(part)).argmax(1) for part in images.split(500)])
    return 100 * (found == labels).float().mean().item()


def measure(model: nn.Module, images: Tensor, labels: Tensor, seed: int = 0) -> dict[str, float]:
    """Per cent that is read right under each corruption."""
    return {name: accuracy(model, corruptions.corrupt(name, images, seed), labels) for name in corruptions.CORRUPTIONS}


def main() -> None:
    """Prints a table: a row a corruption, a column a model."""
    args = parse_arguments()
    torch.set_num_threads(1)
    images, labels = data.load(args.data, "t10k" if args.part == "t10k" else "train")
    if args.part == "validation":
        _, held_out = data.split(len(images), seed=0)
        images, labels = images[held_out], labels[held_out]
    images, labels = images[: args.images], labels[: args.images]
    loaded = [models.load(path, args.weights) for path in args.models]

    def row(title: str, values: list[float]) -> None:
        print(f"{title:24}" + "".join(f"{value:10.2f}" for value in values), flush=True)

    print(f"per cent of {len(images)} images ({args.part}) read right by")
    for number, path in enumerate(args.models):
        print(f"  column {number + 1}: {path}")
    row("as it is", [accuracy(model, images, labels) for model in loaded])
    found = [measure(model, images, labels, args.seed) for model in loaded]
    for title, group in (("seen in kind", corruptions.SEEN), ("never seen", corruptions.UNSEEN)):
        print(f"-- {title}")
        for name in group:
            row(name, [column[name] for column in found])
        row(f"mean, {title}", [statistics.mean(column[name] for name in group) for column in found])
    print("-- all")
    row("mean of fifteen", [statistics.mean(column.values()) for column in found])
    row("worst", [min(column.values()) for column in found])


if __name__ == "__main__":
    main()
