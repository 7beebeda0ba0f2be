"""Averages the best weights of several checkpoints into one (model soup, Wortsman et al. 2022, arXiv 2203.05482)."""

from __future__ import annotations

import argparse
import pathlib

import data
import torch
from train import count_correct
from vit import VisionTransformer, VitConfig


def parse_arguments() -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("checkpoints", type=pathlib.Path, nargs="+", help="trained from the same start")
    parser.add_argument("--data", type=pathlib.Path, required=True, help="MNIST files")
    parser.add_argument("--out", type=pathlib.Path, required=True, help="checkpoint to write, for export.py")
    return parser.parse_args()


def main() -> None:
    """Writes the averaged checkpoint and prints its validation accuracy."""
    args = parse_arguments()
    states = [torch.load(path, weights_only=True) for path in args.checkpoints]
    best = {name: torch.stack([state["best"][name] for state in states]).mean(dim=0) for name in states[0]["best"]}
    model = VisionTransformer(VitConfig(**states[0]["config"]))
    model.load_state_dict(best)
    images, labels = data.load(args.data, "train")
    _, validation = data.split(len(images), seed=0)
    correct = count_correct(model, images[validation], labels[validation])
    torch.save({"config": states[0]["config"], "best": best}, args.out)
    print(f"validation {100 * correct / len(validation):.2f} %, wrote {args.out}")


if __name__ == "__main__":
    main()
