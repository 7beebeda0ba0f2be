"""Reads a trained model, whatever file it is in."""

from __future__ import annotations

import json
import pathlib

import torch
from convnet import ConvConfig, ConvNet
from safetensors import safe_open
from safetensors.torch import load_file
from torch import nn
from vit import VisionTransformer, VitConfig


def load(path: pathlib.Path, which: str = "best") -> nn.Module:
    """Returns the model of a weights file, or of a checkpoint: its best, average or newest ("model") weights."""
    if path.suffix == ".safetensors":
        with safe_open(path, framework="pt") as file:
            config = json.loads(file.metadata()["vit.config"])
        weights = load_file(path)
    else:
        checkpoint = torch.load(path, weights_only=True)
        config, weights = checkpoint["config"], checkpoint[which]
    model = VisionTransformer(VitConfig(**config)) if "patch_size" in config else ConvNet(ConvConfig(**config))
    model.load_state_dict(weights)
    return model.eval().requires_grad_(False)
