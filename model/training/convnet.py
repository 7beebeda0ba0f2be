"""The teachers: small residual convolutional networks (He et al. 2016), which learn digits more readily than a ViT."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor, nn
from torch.nn import functional


@dataclasses.dataclass(frozen=True)
class ConvConfig:
    """The channels at 28, 14 and 7 pixels a side."""

    fine: int = 16
    middle: int = 48
    coarse: int = 96
    classes: int = 10


def _convolution(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs))


class Residual(nn.Module):
    """x and what two convolutions add to it."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = _convolution(channels, channels)
        self.second = _convolution(channels, channels)
        # At first the block changes nothing.
        nn.init.zeros_(self.second[1].weight)

    def forward(self, x: Tensor) -> Tensor:
        """Maps [N, C, H, W] to [N, C, H, W]."""
        return functional.relu(x + self.second(functional.relu(self.first(x))))


class ConvNet(nn.Module):
    """From normalised pixels to logits."""

    def __init__(self, config: ConvConfig) -> None:
        super().__init__()
        self.config = config
        self.body = nn.Sequential(
            _convolution(1, config.fine),
            nn.ReLU(),
            _convolution(config.fine, config.middle, 2),
            nn.ReLU(),
            Residual(config.middle),
            _convolution(config.middle, config.coarse, 2),
            nn.ReLU(),
            Residual(config.coarse),
        )
        self.head = nn.Linear(2 * config.coarse, config.classes)

    def forward(self, images: Tensor) -> Tensor:
        """Maps normalised images [N, 1, 28, 28] to logits [N, classes]."""
        x = self.body(images)
        return self.head(torch.cat([x.mean((2, 3)), x.amax((2, 3))], dim=1))
