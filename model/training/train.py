"""Trains the ViT on MNIST's training set; the test set is not read here."""

from __future__ import annotations

import argparse
import copy
import dataclasses
import math
import pathlib
import time

import data
import torch
from torch import Tensor
from torch.nn import functional
from tqdm import tqdm
from vit import VisionTransformer, VitConfig


def parse_arguments() -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog="Interrupted, it goes on from the last epoch when called again.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--data", type=pathlib.Path, required=True, help="MNIST files")
    parser.add_argument("--out", type=pathlib.Path, required=True, help="checkpoints")
    parser.add_argument("--epochs", type=int, default=45)
    parser.add_argument("--batch-size", type=int, default=200)
    parser.add_argument("--lr", type=float, default=1.5e-3, help="peak learning rate")
    parser.add_argument("--weight-decay", type=float, default=0.05)
    parser.add_argument("--warmup-epochs", type=float, default=2.0)
    parser.add_argument("--label-smoothing", type=float, default=0.1)
    parser.add_argument("--drop-path", type=float, default=0.05)
    parser.add_argument("--ema", type=float, default=0.9985, help="decay a step")
    parser.add_argument("--augmentation", type=float, default=1.0, help="strength of the deformations")
    parser.add_argument("--start", type=pathlib.Path, help="checkpoint whose best weights to start from")
    parser.add_argument("--patch-size", type=int, default=7, choices=(4, 7))
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    return parser.parse_args()


def optimiser(model: VisionTransformer, weight_decay: float) -> torch.optim.AdamW:
    """AdamW; no decay on vectors: biases, norms, and the embeddings of positions."""
    named = list(model.named_parameters())
    plain = [p for name, p in named if p.ndim < 2 or name in ("cls_token", "pos_embed")]
    plain_ids = {id(p) for p in plain}
    decayed = [p for _, p in named if id(p) not in plain_ids]
    groups = [
        {"params": decayed, "weight_decay": weight_decay},
        {"params": plain, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, betas=(0.9, 0.999))


def learning_rate(step: int, warmup: int, total: int, peak: float) -> float:
    """Linear warm-up, then a cosine down to a hundredth of the peak."""
    if step < warmup:
        return peak * (step + 1) / warmup
    progress = (step - warmup) / max(1, total - warmup)
    return peak * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * progress)))


@torch.no_grad()
def count_correct(model: VisionTransformer, images: Tensor, labels: Tensor) -> int:
    """How many images the model labels right."""
    model.eval()
    found = [model(data.normalise(part)).argmax(1) for part in images.split(1000)]
    return int((torch.cat(found) == labels).sum())


class Trainer:
    """All that a checkpoint holds: model, its moving average, optimiser, best so far."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.args = args
        config = VitConfig(patch_size=args.patch_size)
        self.model = VisionTransformer(config, drop_path=args.drop_path)
        if args.start is not None:
            self.model.load_state_dict(torch.load(args.start, weights_only=True)["best"])
        self.average = copy.deepcopy(self.model)
        self.optimiser = optimiser(self.model, args.weight_decay)
        self.epoch, self.step = 0, 0
        self.best_correct, self.best = -1, {}

    def save(self, path: pathlib.Path) -> None:
        """Writes a checkpoint; an interruption leaves the old one."""
        state = {
            "config": dataclasses.asdict(self.model.config),
            "model": self.model.state_dict(),
            "average": self.average.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "rng": torch.get_rng_state(),
            "epoch": self.epoch,
            "step": self.step,
            "best_correct": self.best_correct,
            "best": self.best,
        }
        fresh = path.with_suffix(".new")
        torch.save(state, fresh)
        fresh.replace(path)

    def load(self, path: pathlib.Path) -> None:
        """Goes on from a checkpoint."""
        state = torch.load(path, weights_only=True)
        self.model.load_state_dict(state["model"])
        self.average.load_state_dict(state["average"])
        self.optimiser.load_state_dict(state["optimiser"])
        torch.set_rng_state(state["rng"])
        self.epoch, self.step = state["epoch"], state["step"]
        self.best_correct, self.best = state["best_correct"], state["best"]

    def _update_average(self) -> None:
        # A short memory at first, so that the average is not held back by the start.
        decay = min(self.args.ema, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            mine, theirs = self.average.parameters(), self.model.parameters()
            torch._foreach_lerp_(list(mine), list(theirs), 1 - decay)

    def run_epoch(self, images: Tensor, labels: Tensor) -> float:
        """Trains over all images once; returns the mean loss."""
        args, total_loss = self.args, 0.0
        batches = torch.randperm(len(images)).split(args.batch_size)
        warmup = int(args.warmup_epochs * len(batches))
        total = args.epochs * len(batches)
        self.model.train()
        for batch in tqdm(batches, desc=f"epoch {self.epoch + 1}", mininterval=5):
            for group in self.optimiser.param_groups:
                group["lr"] = learning_rate(self.step, warmup, total, args.lr)
            logits = self.model(data.augment(images[batch], args.augmentation))
            loss = functional.cross_entropy(logits, labels[batch], label_smoothing=args.label_smoothing)
            self.optimiser.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
            self.optimiser.step()
            self.step += 1
            self._update_average()
            total_loss += loss.item()
        self.epoch += 1
        return total_loss / len(batches)


def main() -> None:
    """Trains, and writes a checkpoint after every epoch."""
    args = parse_arguments()
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    args.out.mkdir(parents=True, exist_ok=True)
    images, labels = data.load(args.data, "train")
    training, validation = data.split(len(images), seed=0)
    trainer = Trainer(args)
    checkpoint = args.out / "checkpoint.pt"
    if checkpoint.exists():
        trainer.load(checkpoint)
        print(f"going on after epoch {trainer.epoch}")
    while trainer.epoch < args.epochs:
        start = time.monotonic()
        loss = trainer.run_epoch(images[training], labels[training])
        correct = count_correct(trainer.average, images[validation], labels[validation])
        if correct > trainer.best_correct:
            trainer.best_correct = correct
            trainer.best = copy.deepcopy(trainer.average.state_dict())
        trainer.save(checkpoint)
        print(
            f"epoch {trainer.epoch}/{args.epochs}: loss {loss:.4f}, validation "
            f"{100 * correct / len(validation):.2f} %, best "
            f"{100 * trainer.best_correct / len(validation):.2f} %, "
            f"{time.monotonic() - start:.0f} s",
            flush=True,
        )


if __name__ == "__main__":
    main()
