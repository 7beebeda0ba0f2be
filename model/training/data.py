"""MNIST from its own files, a validation split, and augmentation of whole batches."""

from __future__ import annotations

import gzip
import hashlib
import math
import pathlib

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

# md5 of the unpacked files.
_FILES = {
    "train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
    "train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
    "t10k-images-idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
    "t10k-labels-idx1-ubyte": "27ae3e4e09519cfbb04c329615203637",
}
MEAN, STD = 0.1307, 0.3081  # of the training set's pixels over 255
VALIDATION_IMAGES = 5000


def _read_idx(directory: pathlib.Path, name: str) -> Tensor:
    packed, plain = directory / f"{name}.gz", directory / name
    if packed.exists():
        content = gzip.decompress(packed.read_bytes())
    elif plain.exists():
        content = plain.read_bytes()
    else:
        raise FileNotFoundError(f"neither {packed} nor {plain} exists")
    found = hashlib.md5(content).hexdigest()
    if found != _FILES[name]:
        raise ValueError(f"{name}: expected md5 {_FILES[name]}, found {found}")
    dimensions = content[3]
    shape = np.frombuffer(content, ">u4", dimensions, 4).astype(int).tolist()
    values = np.frombuffer(content, np.uint8, math.prod(shape), 4 + 4 * dimensions)
    return torch.from_numpy(values.reshape(shape).copy())


def load(directory: pathlib.Path, part: str) -> tuple[Tensor, Tensor]:
    """Returns images u8 [N, 28, 28] and labels i64 [N] of part "train" or "t10k"."""
    images = _read_idx(directory, f"{part}-images-idx3-ubyte")
    labels = _read_idx(directory, f"{part}-labels-idx1-ubyte")
    return images, labels.long()


def split(count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Returns the indices of training and of validation images."""
    order = torch.randperm(count, generator=torch.Generator().manual_seed(seed))
    return order[VALIDATION_IMAGES:], order[:VALIDATION_IMAGES]


def normalise(images: Tensor) -> Tensor:
    """Maps u8 [N, H, W] to f32 [N, 1, H, W] of about zero mean and unit variance."""
    return images.unsqueeze(1).float().div_(255.0).sub_(MEAN).div_(STD)


def _uniform(n: int, low: float, high: float) -> Tensor:
    return torch.empty(n).uniform_(low, high)


def _gaussian_kernel(sigma: float) -> Tensor:
    radius = math.ceil(2.5 * sigma)
    x = torch.arange(-radius, radius + 1, dtype=torch.float32)
    kernel = torch.exp(-(x**2) / (2 * sigma**2))
    return kernel / kernel.sum()


_KERNEL = _gaussian_kernel(4.0)


def _elastic(n: int, size: int, alpha: float) -> Tensor:
    """Random displacement [n, size, size, 2], smooth (Simard et al. 2003)."""
    field = torch.empty(n * 2, 1, size, size).uniform_(-1.0, 1.0)
    pad = len(_KERNEL) // 2
    field = functional.conv2d(field, _KERNEL.view(1, 1, 1, -1), padding=(0, pad))
    field = functional.conv2d(field, _KERNEL.view(1, 1, -1, 1), padding=(pad, 0))
    return field.view(n, 2, size, size).permute(0, 2, 3, 1) * (alpha * 2 / size)


def augment(images: Tensor, strength: float = 1.0) -> Tensor:
    """Random affine and elastic deformation of u8 [N, H, W]; returns normalised f32."""
    n, size, _ = images.shape
    angle = _uniform(n, -12.0, 12.0) * (strength * math.pi / 180)
    shear = _uniform(n, -0.2, 0.2) * strength
    scale_x, scale_y = (1.0 + strength * _uniform(n, -0.13, 0.15) for _ in range(2))
    cos, sin = angle.cos(), angle.sin()
    theta = torch.empty(n, 2, 3)
    theta[:, 0, 0], theta[:, 0, 1] = cos * scale_x, (shear * cos - sin) * scale_y
    theta[:, 1, 0], theta[:, 1, 1] = sin * scale_x, (shear * sin + cos) * scale_y
    theta[:, :, 2] = torch.empty(n, 2).uniform_(-2.2, 2.2) * (strength * 2 / size)
    grid = functional.affine_grid(theta, [n, 1, size, size], align_corners=False)
    grid += _elastic(n, size, alpha=24.0 * strength) * _uniform(n, 0.0, 1.0).view(n, 1, 1, 1)
    pixels = images.unsqueeze(1).float().div_(255.0)
    moved = functional.grid_sample(pixels, grid, align_corners=False)
    return moved.sub_(MEAN).div_(STD)
