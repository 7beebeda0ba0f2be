"""Writes models, and what PyTorch answers with them, for other programs to match."""

from __future__ import annotations

import dataclasses
import json
import pathlib

import torch
from safetensors.torch import save_file
from torch import Tensor
from vit import VisionTransformer, VitConfig


@dataclasses.dataclass(frozen=True)
class Normalisation:
    """An input is (pixel / 255 - mean) / std, by channel."""

    mean: list[float]
    std: list[float]

    def apply(self, images: Tensor) -> Tensor:
        """Maps u8 [N, H, W, C] to f32 [N, C, H, W]."""
        pixels = images.permute(0, 3, 1, 2).float() / 255.0
        mean = torch.tensor(self.mean).view(1, -1, 1, 1)
        std = torch.tensor(self.std).view(1, -1, 1, 1)
        return (pixels - mean) / std


def _fields(config: VitConfig) -> dict[str, int | float | bool | str]:
    """What a weights file says of the shape; of overlapping patches only where there are any."""
    fields = dataclasses.asdict(config)
    if not config.patch_overlap:
        del fields["patch_overlap"]
    return fields


def save_model(
    path: pathlib.Path,
    model: VisionTransformer,
    normalisation: Normalisation,
    name: str,
    version: str,
) -> None:
    """Writes weights under timm's names, and all else in the metadata."""
    config: VitConfig = model.config
    metadata = {
        "format": "pt",
        "vit.config": json.dumps(_fields(config)),
        "vit.normalization": json.dumps(dataclasses.asdict(normalisation)),
        "vit.labels": json.dumps([str(i) for i in range(config.classes)]),
        "vit.name": name,
        "vit.version": version,
    }
    weights = {k: v.contiguous() for k, v in model.state_dict().items()}
    save_file(weights, path, metadata)


@torch.no_grad()
def answers(model: VisionTransformer, normalisation: Normalisation, images: Tensor) -> tuple[Tensor, Tensor]:
    """Logits [N, classes] and attention [N, depth, heads, T, T] of u8 [N, H, W, C]."""
    model.eval()
    attention: list[Tensor] = []
    logits = model(normalisation.apply(images), attention)
    return logits, torch.stack(attention, dim=1)


def rollout(attention: Tensor) -> Tensor:
    """Abnar and Zuidema 2020: [N, depth, heads, T, T] to [N, T, T]."""
    mixed = 0.5 * attention.mean(dim=2) + 0.5 * torch.eye(attention.shape[-1])
    mixed = mixed / mixed.sum(dim=-1, keepdim=True)
    result = mixed[:, 0]
    for layer in range(1, mixed.shape[1]):
        result = mixed[:, layer] @ result
    return result


def save_golden(path: pathlib.Path, images: Tensor, labels: Tensor | None, logits: Tensor) -> None:
    """Writes images u8 [N, H, W, C], their labels if known, and logits."""
    tensors = {"images": images.contiguous(), "logits": logits.contiguous()}
    if labels is not None:
        tensors["labels"] = labels.contiguous()
    save_file(tensors, path)
