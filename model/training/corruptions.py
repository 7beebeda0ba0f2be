"""Fifteen corruptions in the manner of MNIST-C (Mu and Gilmer 2019), to measure with and never to train on.

Our own drawing of each, at one strength. They share no code with the views that models are trained on. The same seed
gives the same pictures.
"""

from __future__ import annotations

import argparse
import math
import pathlib
from collections.abc import Callable

import data
import sheet
import torch
from torch import Generator, Tensor
from torch.nn import functional

SIZE = 28


class Draw:
    """Random numbers for n images, shaped to go with [n, 28, 28]."""

    def __init__(self, n: int, generator: Generator) -> None:
        self.n, self.generator = n, generator

    def uniform(self, low: float, high: float, *shape: int) -> Tensor:
        """Numbers [n, *shape], or [n, 1, 1]."""
        numbers = torch.rand(self.n, *(shape or (1, 1)), generator=self.generator)
        return low + (high - low) * numbers

    def sign(self) -> Tensor:
        """-1 or 1, [n, 1, 1]."""
        return (self.uniform(0, 1) < 0.5).float() * 2 - 1


def _blur(images: Tensor, sigma: float) -> Tensor:
    radius = math.ceil(3 * sigma)
    x = torch.arange(-radius, radius + 1, dtype=torch.float32)
    kernel = torch.exp(-0.5 * (x / sigma) ** 2)
    kernel = kernel / kernel.sum()
    planes = images.unsqueeze(1)
    planes = functional.conv2d(planes, kernel.view(1, 1, 1, -1), padding=(0, radius))
    return functional.conv2d(planes, kernel.view(1, 1, -1, 1), padding=(radius, 0)).squeeze(1)


def _transform(images: Tensor, matrix: list[list[Tensor | float]], shift: Tensor | None = None) -> Tensor:
    """Samples each image at matrix · (x, y) + shift, about its centre, where a side is from -1 to 1."""
    theta = torch.zeros(len(images), 2, 3)
    for row in range(2):
        for column in range(2):
            value = matrix[row][column]
            theta[:, row, column] = value.flatten() if isinstance(value, Tensor) else value
    if shift is not None:
        theta[:, :, 2] = shift
    grid = functional.affine_grid(theta, [len(images), 1, SIZE, SIZE], align_corners=False)
    return functional.grid_sample(images.unsqueeze(1), grid, align_corners=False).squeeze(1)


def _dots(points: Tensor, radius: float) -> Tensor:
    """Draws round dots at points (row, column) [n, k, 2]: [n, 28, 28]."""
    line = torch.arange(SIZE, dtype=torch.float32)
    picture = torch.zeros(len(points), SIZE, SIZE)
    for point in points.unbind(1):
        row = (line - point[:, :1]).square().unsqueeze(2)
        column = (line - point[:, 1:]).square().unsqueeze(1)
        picture = torch.maximum(picture, (radius + 0.5 - (row + column).sqrt()).clamp(0, 1))
    return picture


def _across(draw: Draw, count: int) -> Tensor:
    """Points on a straight line from one side of the picture to the other: [n, count, 2]."""
    start, end = draw.uniform(3, 24, 1), draw.uniform(3, 24, 1)
    along = torch.linspace(0, 1, count)
    rows = start + (end - start) * along
    return torch.stack([rows, (1 + 25 * along).expand_as(rows)], 2)


def shot_noise(images: Tensor, draw: Draw) -> Tensor:
    """Few photons."""
    return torch.poisson(images * 4.0, generator=draw.generator) / 4.0


def impulse_noise(images: Tensor, draw: Draw) -> Tensor:
    """An eighth of the pixels black or white."""
    chance = draw.uniform(0, 1, SIZE, SIZE)
    images = images.masked_fill(chance < 0.06, 0.0)
    return images.masked_fill(chance > 0.94, 1.0)


def glass_blur(images: Tensor, draw: Draw) -> Tensor:
    """Behind ribbed glass: pixels swap places with their neighbours."""
    line = torch.arange(SIZE)
    images = _blur(images, 0.7)
    for _ in range(2):
        row = (line.view(-1, 1) + draw.uniform(-1.5, 1.5, SIZE, SIZE).trunc().long()).clamp(0, SIZE - 1)
        column = (line.view(1, -1) + draw.uniform(-1.5, 1.5, SIZE, SIZE).trunc().long()).clamp(0, SIZE - 1)
        images = images.flatten(1).gather(1, (row * SIZE + column).flatten(1)).view_as(images)
    return _blur(images, 0.7)


def motion_blur(images: Tensor, draw: Draw) -> Tensor:
    """The hand that held the camera moved."""
    angle = draw.uniform(-math.pi / 4, math.pi / 4, 1)
    direction = torch.cat([angle.cos(), angle.sin()], 1)
    result, total = torch.zeros_like(images), 0.0
    for pixels in range(-4, 5):
        weight = math.exp(-0.5 * (pixels / 2.0) ** 2)
        result += weight * _transform(images, [[1.0, 0.0], [0.0, 1.0]], direction * (2 * pixels / SIZE))
        total += weight
    return result / total


def shear(images: Tensor, draw: Draw) -> Tensor:
    """Slanted."""
    return _transform(images, [[1.0, 0.5 * draw.sign()], [0.0, 1.0]])


def scale(images: Tensor, draw: Draw) -> Tensor:
    """Six tenths of the size."""
    del draw
    return _transform(images, [[1 / 0.6, 0.0], [0.0, 1 / 0.6]])


def rotate(images: Tensor, draw: Draw) -> Tensor:
    """Turned by 25 degrees."""
    angle = math.radians(25) * draw.sign()
    return _transform(images, [[angle.cos(), -angle.sin()], [angle.sin(), angle.cos()]])


def brightness(images: Tensor, draw: Draw) -> Tensor:
    """The background is grey, and the brightest ink is cut off."""
    del draw
    return images + 0.4


def translate(images: Tensor, draw: Draw) -> Tensor:
    """Moved by three to five pixels."""
    angle, pixels = draw.uniform(0, 2 * math.pi, 1), draw.uniform(3.0, 5.0, 1)
    shift = torch.cat([angle.cos(), angle.sin()], 1) * pixels * (2 / SIZE)
    return _transform(images, [[1.0, 0.0], [0.0, 1.0]], shift)


def stripe(images: Tensor, draw: Draw) -> Tensor:
    """A band from top to bottom is inverted."""
    columns = torch.arange(SIZE).view(1, 1, SIZE)
    left = draw.uniform(5, 15).floor()
    inside = (columns >= left) & (columns < left + 7)
    return torch.where(inside, 1 - images, images)


def fog(images: Tensor, draw: Draw) -> Tensor:
    """Clouds: noise of every size, the larger the stronger."""
    clouds = torch.zeros_like(images)
    for octave, cells in enumerate((3, 5, 9, 17, 28)):
        noise = draw.uniform(-1, 1, 1, cells, cells)
        size = (SIZE, SIZE)
        clouds += 0.6**octave * functional.interpolate(noise, size, mode="bilinear", align_corners=True).squeeze(1)
    low, high = clouds.amin((1, 2), keepdim=True), clouds.amax((1, 2), keepdim=True)
    clouds = (clouds - low) / (high - low)
    return (images + 1.5 * clouds) / 2.0


def spatter(images: Tensor, draw: Draw) -> Tensor:
    """Drops of ink or water."""
    noise = torch.randn(images.shape, generator=draw.generator)
    noise = _blur(noise, 1.3)
    noise = noise / noise.std((1, 2), keepdim=True)
    drops = ((noise - 1.4) * 2.5).clamp(0, 1)
    return torch.maximum(images, drops * draw.uniform(0.6, 1.0))


def dotted_line(images: Tensor, draw: Draw) -> Tensor:
    """A row of dots across."""
    return torch.maximum(images, _dots(_across(draw, 8), 0.8))


def zigzag(images: Tensor, draw: Draw) -> Tensor:
    """A line that goes up and down across."""
    points = _across(draw, 57)
    phase = torch.arange(57) / 14
    height = 3.0 * (4 * (phase - phase.round()).abs() - 1) * draw.sign().squeeze(2)
    points[:, :, 0] += height
    return torch.maximum(images, _dots(points, 0.45))


def canny_edges(images: Tensor, draw: Draw) -> Tensor:
    """Only the outlines (Canny 1986)."""
    del draw
    smooth = functional.pad(_blur(images, 1.0).unsqueeze(1), (1, 1, 1, 1), mode="replicate")
    slope = torch.tensor([[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]]) / 4
    across = functional.conv2d(smooth, slope.view(1, 1, 3, 3)).squeeze(1)
    down = functional.conv2d(smooth, slope.T.reshape(1, 1, 3, 3)).squeeze(1)
    strength = torch.hypot(across, down)
    # An edge is stronger than its two neighbours along the slope, whose direction is one of four.
    sector = (torch.atan2(down, across) / (math.pi / 4)).round().long() % 4
    around = functional.pad(strength, (1, 1, 1, 1))
    is_crest = torch.zeros_like(strength, dtype=torch.bool)
    for number, (dy, dx) in enumerate(((0, 1), (1, 1), (1, 0), (1, -1))):
        ahead = around[:, 1 + dy : 1 + dy + SIZE, 1 + dx : 1 + dx + SIZE]
        behind = around[:, 1 - dy : 1 - dy + SIZE, 1 - dx : 1 - dx + SIZE]
        is_crest |= (sector == number) & (strength >= ahead) & (strength > behind)
    weak = is_crest & (strength > 0.1)
    edges = (is_crest & (strength > 0.2)).float()
    # Weak edges count where they hang together with strong ones.
    for _ in range(SIZE):
        edges = functional.max_pool2d(edges.unsqueeze(1), 3, 1, 1).squeeze(1) * weak
    return edges


# Whether training shows the like: augment.py's noise, specks, movements and tones.
SEEN: dict[str, Callable[[Tensor, Draw], Tensor]] = {
    f.__name__: f for f in (shot_noise, impulse_noise, motion_blur, shear, scale, rotate, brightness, translate)
}
UNSEEN: dict[str, Callable[[Tensor, Draw], Tensor]] = {
    f.__name__: f for f in (glass_blur, stripe, fog, spatter, dotted_line, zigzag, canny_edges)
}
CORRUPTIONS = SEEN | UNSEEN


def corrupt(name: str, images: Tensor, seed: int = 0) -> Tensor:
    """Returns u8 [n, 28, 28] of u8 [n, 28, 28]."""
    generator = Generator().manual_seed(1_000 * seed + list(CORRUPTIONS).index(name))
    corrupted = CORRUPTIONS[name](images.float() / 255.0, Draw(len(images), generator))
    return corrupted.clamp(0, 1).mul(255).round().to(torch.uint8)


def parse_arguments() -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--data", type=pathlib.Path, required=True, help="MNIST files")
    parser.add_argument("--sheet", type=pathlib.Path, required=True, help="PNG to write: a row a corruption")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def main() -> None:
    """Writes a picture of corrupted digits: the originals, then a row for each corruption."""
    args = parse_arguments()
    torch.set_num_threads(1)
    images, labels = data.load(args.data, "train")
    chosen = labels[:1000].argsort(stable=True)[20::40]
    rows = [images[chosen], *(corrupt(name, images[chosen], args.seed) for name in CORRUPTIONS)]
    sheet.save_sheet(args.sheet, torch.cat(rows), len(chosen))
    print(f"wrote {args.sheet}, from the top: as it is, " + ", ".join(CORRUPTIONS))


if __name__ == "__main__":
    main()
