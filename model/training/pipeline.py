"""Trains everything, stage after stage, on one thread: teachers, views with their answers, then the students.

Each stage keeps its checkpoint in a folder of its own. What is done is skipped, what was interrupted goes on from its
last epoch, so that this may be stopped and started at any time. One line an epoch goes to the log.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import pathlib
import statistics
import time
from collections.abc import Iterator

import augment
import data
import models
import robustness
import torch
from convnet import ConvConfig, ConvNet
from runs import Recipe, Run, Validation, write
from torch import Tensor, nn
from torch.nn import functional
from tqdm import tqdm
from vit import VisionTransformer, VitConfig


@dataclasses.dataclass(frozen=True)
class Teacher:
    """A convolutional network that learns from the labels."""

    recipe: Recipe
    config: ConvConfig = dataclasses.field(default_factory=ConvConfig)


@dataclasses.dataclass(frozen=True)
class Student:
    """A ViT that learns from the labels and from the teachers' answers to the same views."""

    recipe: Recipe
    config: VitConfig
    drop_path: float = 0.0
    soft: float = 0.7  # how much the teachers' answers weigh against the labels
    temperature: float = 2.0
    everything: bool = False  # trains on the validation images, too


def _teacher(seed: int) -> Teacher:
    return Teacher(Recipe(30, seed, "sgd", batch_size=128, lr=0.1, weight_decay=5e-4, warmup_epochs=1, clip=5.0))


def _small(epochs: int, seed: int, overlap: int = 0, **more: float) -> Student:
    config = VitConfig(class_token=False, pool="avg", patch_overlap=overlap)
    return Student(Recipe(epochs, seed, lr=2e-3, warmup_epochs=3, ema=0.9995), config, **more)


def _large(epochs: int, seed: int) -> Student:
    config = VitConfig(
        patch_size=4, width=96, heads=6, depth=6, mlp_width=384, class_token=False, pool="avg", patch_overlap=2
    )
    return Student(Recipe(epochs, seed, lr=1.5e-3, warmup_epochs=3, ema=0.9995), config, drop_path=0.05)


TEACHERS = {"teacher-1": _teacher(1), "teacher-2": _teacher(2)}
# In this order. The probes tell whether patches that overlap are worth what they cost.
STUDENTS = {
    "probe-plain": _small(20, 1),
    "probe-overlap": _small(20, 1, overlap=3),
    "small-1": _small(200, 1, overlap=3),
    "large-1": _large(100, 1),
}
VIEW_SHARDS = 64  # sets of views of all images; students see them again and again


def parse_arguments() -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog="Stages, in order: " + ", ".join([*TEACHERS, *STUDENTS]) + ".",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--data", type=pathlib.Path, required=True, help="MNIST files")
    parser.add_argument("--out", type=pathlib.Path, required=True, help="folder of checkpoints, views and the log")
    parser.add_argument("--only", nargs="+", choices=[*TEACHERS, *STUDENTS], help="these stages")
    parser.add_argument("--images", type=int, help="only so many, 5,000 of them for validation, to try it out")
    parser.add_argument("--epochs", type=int, help="so many epochs in each stage, to try it out")
    parser.add_argument("--bfloat16", action="store_true", help="convolve in bfloat16; faster where the CPU has AMX")
    parser.add_argument("--shards", type=int, default=VIEW_SHARDS, help="sets of views for the students")
    return parser.parse_args()


class Log:
    """Writes lines with the time to the screen and to a file."""

    def __init__(self, path: pathlib.Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.file = path.open("a", buffering=1)

    def __call__(self, line: str) -> None:
        line = f"{time.strftime('%m-%d %H:%M:%S')} {line}"
        print(line, flush=True)
        print(line, file=self.file)


def _convolving(bfloat16: bool) -> torch.autocast:
    return torch.autocast("cpu", torch.bfloat16, enabled=bfloat16)


class FromLabels:
    """Batches of fresh views; the loss is the labels' cross entropy."""

    def __init__(self, images: Tensor, labels: Tensor, batch_size: int, bfloat16: bool) -> None:
        self.images, self.labels, self.batch_size, self.bfloat16 = images, labels, batch_size, bfloat16
        self.steps = len(images) // batch_size

    def batches(self, epoch: int) -> Iterator[tuple[Tensor, ...]]:
        """Yields normalised views and labels."""
        del epoch
        order = torch.randperm(len(self.images))[: self.steps * self.batch_size]
        # Several batches at once: the parts that are changed alike are larger then.
        for part in order.split(8 * self.batch_size):
            labels = self.labels[part]
            seen, _ = augment.views(self.images[part], labels)
            yield from zip(data.normalise(seen).split(self.batch_size), labels.split(self.batch_size), strict=True)

    def loss(self, model: nn.Module, batch: tuple[Tensor, ...]) -> Tensor:
        """The cross entropy of (views, labels)."""
        seen, labels = batch
        with _convolving(self.bfloat16):
            return functional.cross_entropy(model(seen), labels)


class Views:
    """Sets of views of all training images, with each teacher's logits; made when first asked for, kept on disk."""

    def __init__(
        self,
        folder: pathlib.Path,
        images: Tensor,
        labels: Tensor,
        teachers: list[nn.Module],
        log: Log,
        bfloat16: bool,
    ) -> None:
        self.folder, self.images, self.labels, self.bfloat16 = folder, images, labels, bfloat16
        self.teachers, self.log = teachers, log
        folder.mkdir(parents=True, exist_ok=True)

    def shard(self, index: int) -> tuple[Tensor, Tensor]:
        """Returns views u8 [N, 28, 28] and logits f16 [N, teachers, 10]."""
        path = self.folder / f"{index:03}.pt"
        if not path.exists():
            self._make(index, path)
        found = torch.load(path, weights_only=True)
        return found["views"], found["logits"]

    @torch.no_grad()
    def _make(self, index: int, path: pathlib.Path) -> None:
        start = time.monotonic()
        with torch.random.fork_rng():
            torch.manual_seed(1000 + index)
            parts = [
                augment.views(*part) for part in zip(self.images.split(1000), self.labels.split(1000), strict=True)
            ]
        views = torch.cat([seen for seen, _ in parts])
        logits = []
        for part in tqdm(views.split(500), desc=f"views {index}", disable=None):
            normalised = data.normalise(part)
            with _convolving(self.bfloat16):
                logits.append(torch.stack([teacher(normalised) for teacher in self.teachers], 1).half())
        kinds = torch.cat([kinds for _, kinds in parts]).to(torch.uint8)
        write({"views": views, "kinds": kinds, "logits": torch.cat(logits)}, path)
        self.log(f"views {index}: made in {time.monotonic() - start:.0f} s")


class FromTeachers:
    """Batches of kept views; the loss is the labels' cross entropy and the divergence from the teachers' mean."""

    def __init__(self, views: Views, indices: Tensor, stage: Student, shards: int) -> None:
        self.views, self.indices, self.stage, self.shards = views, indices, stage, shards
        self.batch_size = stage.recipe.batch_size
        self.steps = len(indices) // self.batch_size

    def batches(self, epoch: int) -> Iterator[tuple[Tensor, ...]]:
        """Yields normalised views, labels, and the teachers' mean probabilities."""
        views, logits = self.views.shard(epoch % self.shards)
        shuffled = self.indices[torch.randperm(len(self.indices))]
        for part in shuffled[: self.steps * self.batch_size].split(self.batch_size):
            soft = (logits[part].float() / self.stage.temperature).softmax(2).mean(1)
            yield data.normalise(views[part]), self.views.labels[part], soft

    def loss(self, model: nn.Module, batch: tuple[Tensor, ...]) -> Tensor:
        """The loss of (views, labels, soft labels)."""
        seen, labels, soft = batch
        logits, temperature = model(seen), self.stage.temperature
        hard = functional.cross_entropy(logits, labels)
        found = functional.log_softmax(logits / temperature, 1)
        # The square keeps the gradient's size whatever the temperature (Hinton et al. 2015).
        apart = functional.kl_div(found, soft, reduction="batchmean") * temperature**2
        return hard.lerp(apart, self.stage.soft)


def _shorten(recipe: Recipe, epochs: int | None) -> Recipe:
    return recipe if epochs is None else dataclasses.replace(recipe, epochs=epochs)


class Pipeline:
    """The stages, and what they share."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.args = args
        self.log = Log(args.out / "log")
        self.images, self.labels = data.load(args.data, "train")
        if args.images is not None:
            self.images, self.labels = self.images[: args.images], self.labels[: args.images]
        self.training, held_out = data.split(len(self.images), seed=0)
        self.validation = Validation(self.images[held_out], self.labels[held_out])

    def _fit(self, name: str, run: Run, task: FromLabels | FromTeachers) -> None:
        """Trains to the end and then tells what the best epoch does with corrupted images."""
        path = self.args.out / name / "checkpoint.pt"
        if not run.fit(task, self.validation, path, lambda line: self.log(f"{name}: {line}")):
            return
        found = robustness.measure(models.load(path), self.validation.clean, self.validation.labels)
        self.log(f"{name}: corruptions " + ", ".join(f"{key} {value:.1f}" for key, value in found.items()))
        self.log(f"{name}: mean of corruptions {statistics.mean(found.values()):.2f} %")

    def teach(self, name: str, stage: Teacher) -> None:
        """Trains a teacher; it never sees the validation images."""
        recipe = _shorten(stage.recipe, self.args.epochs)
        torch.manual_seed(recipe.seed)
        model = ConvNet(stage.config).to(memory_format=torch.channels_last)
        images, labels = self.images[self.training], self.labels[self.training]
        self._fit(name, Run(model, recipe), FromLabels(images, labels, recipe.batch_size, self.args.bfloat16))

    @functools.cached_property
    def views(self) -> Views:
        """The views that all students share."""
        paths = [self.args.out / name / "checkpoint.pt" for name in TEACHERS]
        teachers = [models.load(path, "average").to(memory_format=torch.channels_last) for path in paths]
        images, labels = self.images, self.labels
        return Views(self.args.out / "views", images, labels, teachers, self.log, self.args.bfloat16)

    def distil(self, name: str, stage: Student) -> None:
        """Trains a student."""
        recipe = _shorten(stage.recipe, self.args.epochs)
        torch.manual_seed(recipe.seed)
        model = VisionTransformer(stage.config, drop_path=stage.drop_path)
        indices = torch.arange(len(self.images)) if stage.everything else self.training
        self._fit(name, Run(model, recipe), FromTeachers(self.views, indices, stage, self.args.shards))

    def run(self) -> None:
        """Goes through the stages."""
        chosen = self.args.only or [*TEACHERS, *STUDENTS]
        for name, stage in TEACHERS.items():
            if name in chosen:
                self.teach(name, stage)
        for name, stage in STUDENTS.items():
            if name in chosen:
                self.distil(name, stage)
        self.log("all stages are done")


def main() -> None:
    """Runs the stages that are not done."""
    torch.set_num_threads(1)
    Pipeline(parse_arguments()).run()


if __name__ == "__main__":
    main()
