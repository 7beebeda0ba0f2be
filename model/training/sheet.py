"""Writes many small images as one picture, to look at."""

from __future__ import annotations

import pathlib
import struct
import zlib

import torch
from torch import Tensor


def _chunk(name: bytes, content: bytes) -> bytes:
    checksum = zlib.crc32(name + content)
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", checksum)


def save_png(path: pathlib.Path, pixels: Tensor) -> None:
    """Writes grey u8 [H, W] as a PNG."""
    height, width = pixels.shape
    # Every row begins with its filter, of which 0 is none.
    rows = torch.cat([torch.zeros(height, 1, dtype=torch.uint8), pixels], dim=1)
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    parts = [(b"IHDR", header), (b"IDAT", zlib.compress(rows.numpy().tobytes())), (b"IEND", b"")]
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(name, content) for name, content in parts))


def save_sheet(path: pathlib.Path, images: Tensor, columns: int, zoom: int = 2) -> None:
    """Writes u8 [N, H, W] in rows of so many columns, with lines between them."""
    count, height, width = images.shape
    missing = -count % columns
    images = torch.cat([images, torch.zeros(missing, height, width, dtype=torch.uint8)])
    framed = torch.full((len(images), height + 1, width + 1), 96, dtype=torch.uint8)
    framed[:, :height, :width] = images
    rows = framed.view(-1, columns, height + 1, width + 1).transpose(1, 2)
    picture = rows.reshape(-1, columns * (width + 1))
    save_png(path, picture.repeat_interleave(zoom, 0).repeat_interleave(zoom, 1))
