"""A training run that may be interrupted at any time: it goes on from the checkpoint of its last epoch."""

from __future__ import annotations

import copy
import dataclasses
import math
import os
import pathlib
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any, Protocol

import augment
import data
import torch
from torch import Tensor, nn
from tqdm import tqdm


@dataclasses.dataclass(frozen=True)
class Recipe:
    """How a run is optimised."""

    epochs: int
    seed: int
    optimiser: str = "adamw"  # or "sgd"
    batch_size: int = 200
    lr: float = 1.5e-3
    weight_decay: float = 0.05
    warmup_epochs: float = 2.0
    ema: float = 0.999
    clip: float = 1.0


class Task(Protocol):
    """What a run learns: its batches of an epoch, and the loss of one."""

    steps: int

    def batches(self, epoch: int) -> Iterator[tuple[Tensor, ...]]:
        """Yields the batches of an epoch, counted from 0; draws from torch's generator only."""

    def loss(self, model: nn.Module, batch: tuple[Tensor, ...]) -> Tensor:
        """The mean loss of a batch."""


def learning_rate(step: int, warmup: int, total: int, peak: float) -> float:
    """Linear warm-up, then a cosine down to a thousandth of the peak."""
    if step < warmup:
        return peak * (step + 1) / warmup
    progress = (step - warmup) / max(1, total - warmup)
    return peak * (0.001 + 0.999 * 0.5 * (1 + math.cos(math.pi * progress)))


def _optimiser(model: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """No decay on vectors: biases, norms, and the embeddings of positions."""

    def is_plain(name: str, p: Tensor) -> bool:
        return p.ndim < 2 or name in ("cls_token", "pos_embed")

    named = list(model.named_parameters())
    groups = [
        {"params": [p for name, p in named if not is_plain(name, p)], "weight_decay": recipe.weight_decay},
        {"params": [p for name, p in named if is_plain(name, p)], "weight_decay": 0.0},
    ]
    if recipe.optimiser == "sgd":
        return torch.optim.SGD(groups, lr=recipe.lr, momentum=0.9, nesterov=True)
    return torch.optim.AdamW(groups, lr=recipe.lr)


@dataclasses.dataclass(frozen=True)
class Score:
    """What a model does on the validation images as they are and on a mild and a strong view of each."""

    wrong: int
    loss: float
    mild: float
    strong: float
    right: int  # of the clean and the mild ones: what the best epoch is chosen by

    def __str__(self) -> str:
        return f"{self.wrong} wrong, loss {self.loss:.4f}, mild {self.mild:.2f} %, strong {self.strong:.2f} %"


class Validation:
    """Validation images, and views of them that are the same in every run."""

    def __init__(self, images: Tensor, labels: Tensor) -> None:
        self.labels = labels
        self.clean = images
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.mild, _ = augment.views(images, labels, augment.Mix(0.0, 1.0))
            self.strong, _ = augment.views(images, labels, augment.Mix(0.0, 0.0))

    @torch.no_grad()
    def score(self, model: nn.Module) -> Score:
        """Looks at all of them."""
        model.eval()
        right, losses = [], []
        for images in (self.clean, self.mild, self.strong):
            logits = torch.cat([model(data.normalise(part)) for part in images.split(500)])
            right.append(int((logits.argmax(1) == self.labels).sum()))
            losses.append(nn.functional.cross_entropy(logits, self.labels).item())
        count = len(self.labels)
        return Score(
            wrong=count - right[0],
            loss=losses[0],
            mild=100 * right[1] / count,
            strong=100 * right[2] / count,
            right=right[0] + right[1],
        )


def write(state: dict[str, Any], path: pathlib.Path) -> None:
    """Writes a file for torch.load; an interruption leaves the old one."""
    fresh = path.with_suffix(".new")
    with fresh.open("wb") as file:
        torch.save(state, file)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)


class Run:
    """All that a checkpoint holds: a model, its moving average, optimiser, place in the schedule, best so far."""

    def __init__(self, model: nn.Module, recipe: Recipe) -> None:
        self.recipe = recipe
        self.model = model
        self.average = copy.deepcopy(model).requires_grad_(False)
        self.optimiser = _optimiser(model, recipe)
        self.epoch, self.step, self.seconds = 0, 0, 0.0
        self.best_right, self.best = -1, {}

    def save(self, path: pathlib.Path) -> None:
        """Writes a checkpoint."""
        state = {
            "config": dataclasses.asdict(self.model.config),
            "recipe": dataclasses.asdict(self.recipe),
            "model": self.model.state_dict(),
            "average": self.average.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "rng": torch.get_rng_state(),
            "epoch": self.epoch,
            "step": self.step,
            "seconds": self.seconds,
            "best_correct": self.best_right,
            "best": self.best,
        }
        write(state, path)

    def load(self, path: pathlib.Path) -> None:
        """Goes on from a checkpoint."""
        state = torch.load(path, weights_only=True)
        self.model.load_state_dict(state["model"])
        self.average.load_state_dict(state["average"])
        self.optimiser.load_state_dict(state["optimiser"])
        torch.set_rng_state(state["rng"])
        self.epoch, self.step, self.seconds = state["epoch"], state["step"], state["seconds"]
        self.best_right, self.best = state["best_correct"], state["best"]

    @torch.no_grad()
    def _update_average(self) -> None:
        # A short memory at first, so that the average is not held back by the start.
        weight = 1 - min(self.recipe.ema, (1 + self.step) / (10 + self.step))
        torch._foreach_lerp_(list(self.average.parameters()), list(self.model.parameters()), weight)
        for mine, theirs in zip(self.average.buffers(), self.model.buffers(), strict=True):
            if mine.is_floating_point():
                mine.lerp_(theirs, weight)
            else:
                mine.copy_(theirs)

    def run_epoch(self, task: Task) -> float:
        """Trains over all images once; returns the mean loss."""
        recipe, total_loss = self.recipe, 0.0
        warmup = int(recipe.warmup_epochs * task.steps)
        total = recipe.epochs * task.steps
        self.model.train()
        batches = task.batches(self.epoch)
        title = f"epoch {self.epoch + 1}"
        for batch in tqdm(batches, desc=title, total=task.steps, disable=not sys.stderr.isatty()):
            for group in self.optimiser.param_groups:
                group["lr"] = learning_rate(self.step, warmup, total, recipe.lr)
            loss = task.loss(self.model, batch)
            self.optimiser.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_(self.model.parameters(), recipe.clip)
            self.optimiser.step()
            self.step += 1
            self._update_average()
            total_loss += loss.item()
        self.epoch += 1
        return total_loss / task.steps

    def fit(self, task: Task, validation: Validation, path: pathlib.Path, log: Callable[[str], None]) -> bool:
        """Trains to the end, from the checkpoint at `path` if there is one, with a checkpoint an epoch.

        Returns whether there was anything left to do.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.manual_seed(self.recipe.seed)
        if path.exists():
            self.load(path)
            if self.epoch >= self.recipe.epochs:
                return False
            log(f"goes on after epoch {self.epoch}")
        while self.epoch < self.recipe.epochs:
            start, cpu = time.monotonic(), time.process_time()
            loss = self.run_epoch(task)
            score = validation.score(self.average)
            # Of equals the later one.
            if score.right >= self.best_right:
                self.best_right, self.best = score.right, copy.deepcopy(self.average.state_dict())
            self.seconds += time.process_time() - cpu
            self.save(path)
            log(
                f"epoch {self.epoch}/{self.recipe.epochs}: loss {loss:.4f}; validation {score}; "
                f"{time.monotonic() - start:.0f} s, {time.process_time() - cpu:.0f} s of CPU"
            )
        return True
