"""Views of digits as strangers write, scan and photograph them, for whole batches at once.

Each image becomes one of three kinds: clean (as it is), mild (deformed as MNIST's own writers differ), or strong (other
hands, pens, scanners, cameras and paper). What is done to a strong view is drawn for each image.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import math
import pathlib
import time

import data
import sheet
import torch
from torch import Tensor
from torch.nn import functional

SIZE = 28
CLEAN, MILD, STRONG = 0, 1, 2


@dataclasses.dataclass(frozen=True)
class Mix:
    """How many of a batch become which kind; the rest is strong."""

    clean: float = 0.10
    mild: float = 0.45


def _uniform(n: int, low: float, high: float) -> Tensor:
    """As many numbers, [n, 1, 1]."""
    return torch.empty(n, 1, 1).uniform_(low, high)


def _some(n: int, probability: float) -> Tensor:
    """The indices of those of n that are drawn."""
    return (torch.rand(n) < probability).nonzero().squeeze(1)


def _coordinates() -> tuple[Tensor, Tensor]:
    """The row and the column of every pixel: [28, 1] and [1, 28]."""
    line = torch.arange(SIZE, dtype=torch.float32)
    return line.view(SIZE, 1), line.view(1, SIZE)


# --- the pen -----------------------------------------------------------------


def segment(start: Tensor, end: Tensor, half_width: Tensor) -> Tensor:
    """Straight strokes, 0 to 1, [n, 28, 28], between points (row, column) [n, 2]."""
    rows, columns = _coordinates()
    from_row = rows - start[:, 0].view(-1, 1, 1)
    from_column = columns - start[:, 1].view(-1, 1, 1)
    delta = (end - start).unsqueeze(-1).unsqueeze(-1)
    length = delta.square().sum(1).clamp_min(1e-6)
    along = ((from_row * delta[:, 0] + from_column * delta[:, 1]) / length).clamp(0, 1)
    distance = torch.hypot(from_row - along * delta[:, 0], from_column - along * delta[:, 1])
    return (half_width + 0.5 - distance).clamp(0, 1)


def _ink_column(images: Tensor, row: Tensor) -> Tensor:
    """The mean column of the ink within a row or so of row [n]."""
    rows, columns = _coordinates()
    near = images * ((rows - row.view(-1, 1, 1)).abs() < 1.5)
    return (near * columns).sum((1, 2)) / near.sum((1, 2)).clamp_min(1e-3)


def _ink_rows(images: Tensor) -> tuple[Tensor, Tensor]:
    """The first and the last row that has ink, [n] each."""
    rows, _ = _coordinates()
    inked = images.amax(2) > 0.4
    first = torch.where(inked, rows.view(1, -1), torch.tensor(float(SIZE))).amin(1)
    last = torch.where(inked, rows.view(1, -1), torch.tensor(-1.0)).amax(1)
    return first.clamp_max(SIZE / 2), last.clamp_min(SIZE / 2)


def _level_stroke(centre: Tensor, left: Tensor, right: Tensor, rise: Tensor, half_width: Tensor) -> Tensor:
    """A nearly level stroke through centre (row, column), so far to the left and to the right of it."""
    start = torch.stack([centre[:, 0] + rise, centre[:, 1] - left], 1)
    end = torch.stack([centre[:, 0] - rise, centre[:, 1] + right], 1)
    return segment(start, end, half_width)


def _bar_sevens(images: Tensor) -> Tensor:
    """Draws a bar through the stems of sevens, [n, 28, 28] from 0 to 1."""
    n = len(images)
    first, last = _ink_rows(images)
    row = first + (last - first) * torch.empty(n).uniform_(0.42, 0.62)
    centre = torch.stack([row, _ink_column(images, row)], 1)
    left, right = (torch.empty(n).uniform_(2.5, 6.5) for _ in range(2))
    rise = torch.empty(n).uniform_(-0.7, 1.3)
    bar = _level_stroke(centre, left, right, rise, _uniform(n, 0.5, 1.1))
    return torch.maximum(images, bar * _uniform(n, 0.75, 1.0))


def _foot_ones(images: Tensor) -> Tensor:
    """Draws a foot under ones, a flag at their head, or both."""
    n = len(images)
    first, last = _ink_rows(images)
    half_width = _uniform(n, 0.5, 1.1)
    row = last - 0.5
    centre = torch.stack([row, _ink_column(images, row - 1)], 1)
    left, right = (torch.empty(n).uniform_(2.5, 6.0) for _ in range(2))
    foot = _level_stroke(centre, left, right, torch.empty(n).uniform_(-0.6, 0.6), half_width)
    head = torch.stack([first + 0.5, _ink_column(images, first + 1)], 1)
    angle, length = torch.empty(n).uniform_(0.5, 1.1), torch.empty(n).uniform_(3.0, 7.5)
    tip = head + torch.stack([angle.sin() * length, -angle.cos() * length], 1)
    flag = segment(head, tip, half_width)
    which = torch.rand(n, 1, 1)
    added = torch.maximum(foot * (which < 0.7), flag * (which > 0.3))
    return torch.maximum(images, added * _uniform(n, 0.75, 1.0))


def _restyle(images: Tensor, labels: Tensor, probability: float) -> None:
    """Writes some sevens with a bar and some ones with a foot, in place."""
    for label, draw in ((7, _bar_sevens), (1, _foot_ones)):
        chosen = (labels == label).nonzero().squeeze(1)
        chosen = chosen[_some(len(chosen), probability)]
        if len(chosen):
            images[chosen] = draw(images[chosen])


def _pen(images: Tensor, probability: float, most: float) -> None:
    """Makes the strokes of some thicker or thinner by up to `most` of a pixel on each side, in place."""
    chosen = _some(len(images), probability)
    if not len(chosen):
        return
    part = images[chosen].unsqueeze(1)
    thick = functional.max_pool2d(part, 3, 1, 1)
    thin = -functional.max_pool2d(-part, 3, 1, 1)
    change = _uniform(len(chosen), -1.0, 1.0).unsqueeze(-1) * most
    grown = torch.where(
        change > 0, part.lerp(thick, change.clamp_min(0)), part.lerp(thin, (-0.8 * change).clamp(0, 0.8))
    )
    # A thinned stroke is as black as before.
    peak = part.amax((2, 3), keepdim=True) / grown.amax((2, 3), keepdim=True).clamp_min(0.2)
    images[chosen] = (grown * peak).clamp_max(1).squeeze(1)


# --- the paper's place -------------------------------------------------------


@functools.cache
def _bumps(count: int = 6) -> Tensor:
    """Smooth functions [28, count], of which random sums are a smooth field."""
    line = torch.linspace(-1, count, SIZE).view(-1, 1)
    bumps = torch.exp(-0.5 * ((line - torch.arange(count)) / 0.75) ** 2)
    return bumps / bumps.square().sum(1, keepdim=True).sqrt()


def smooth_field(n: int, channels: int) -> Tensor:
    """Random smooth fields [n, channels, 28, 28] of about unit variance."""
    bumps = _bumps()
    return bumps @ torch.randn(n, channels, bumps.shape[1], bumps.shape[1]) @ bumps.T


@dataclasses.dataclass(frozen=True)
class Geometry:
    """The most that an image is turned (radians), sheared, scaled, moved (pixels), tilted away, and bent (pixels)."""

    angle: float
    shear: float
    small: float
    large: float
    shift: float
    tilt: float
    bend: float


MILD_GEOMETRY = Geometry(angle=0.22, shear=0.2, small=0.87, large=1.15, shift=2.2, tilt=0.0, bend=1.0)
STRONG_GEOMETRY = Geometry(angle=0.5, shear=0.45, small=0.58, large=1.3, shift=4.0, tilt=0.15, bend=1.3)


def _warp(images: Tensor, most: Geometry) -> Tensor:
    """Moves every image [n, 28, 28] by a deformation of its own."""
    n = len(images)

    def draw(size: float) -> Tensor:
        return torch.empty(n).uniform_(-1, 1) * size

    angle, shear = draw(most.angle), draw(most.shear)
    # One scale for both sides, a little different for each; in logarithms, so that small is as likely as large.
    scale = torch.empty(n).uniform_(math.log(most.small), math.log(most.large))
    height, width = ((-scale + draw(0.08)).exp() for _ in range(2))
    cos, sin = angle.cos(), angle.sin()
    theta = torch.empty(n, 2, 3)
    theta[:, 0, 0], theta[:, 0, 1] = cos * width, (shear * cos - sin) * height
    theta[:, 1, 0], theta[:, 1, 1] = sin * width, (shear * sin + cos) * height
    # A small digit may be further from the centre, and stays within the picture.
    room = most.shift + 10 * (1 - scale.exp()).clamp(0, 0.5) * (most.shift > 3)
    moved = torch.empty(n, 2).uniform_(-1, 1) * room.view(-1, 1) * (2 / SIZE)
    theta[:, :, 2] = (theta[:, :, :2] @ moved.unsqueeze(-1)).squeeze(-1)
    grid = functional.affine_grid(theta, [n, 1, SIZE, SIZE], align_corners=False)
    if most.tilt:
        away = (grid * torch.stack([draw(most.tilt), draw(most.tilt)], 1).view(n, 1, 1, 2)).sum(-1, keepdim=True)
        grid = grid / (1 + away)
    bend = smooth_field(n, 2).permute(0, 2, 3, 1) * torch.rand(n, 1, 1, 1)
    grid = grid + bend * (most.bend * 2 / SIZE)
    return functional.grid_sample(images.unsqueeze(1), grid, align_corners=False).squeeze(1)


# --- the lens and the scanner ------------------------------------------------


@functools.cache
def _soften_matrices() -> Tensor:
    """Matrices [k, 28, 28] that soften a line of pixels: nothing, then blurs, then fewer pixels, coarse or smooth."""
    line = torch.arange(SIZE, dtype=torch.float32)
    matrices = [torch.eye(SIZE)]
    for sigma in torch.linspace(0.4, 1.5, 8).tolist():
        blur = torch.exp(-((line.view(-1, 1) - line) ** 2) / (2 * sigma**2))
        matrices.append(blur / blur.sum(1, keepdim=True).mean())
    eye = torch.eye(SIZE).unsqueeze(0)
    for pixels in (9, 10, 11, 12, 14, 16, 18, 20, 22):
        down = functional.adaptive_avg_pool1d(eye, pixels)
        for mode in ("linear", "nearest"):
            up = functional.interpolate(down, size=SIZE, mode=mode)
            matrices.append(up[0].T)
    return torch.stack(matrices)


def _soften(images: Tensor, blur: float, coarse: float) -> Tensor:
    """Blurs some, gives some fewer pixels: each by a matrix on either side."""
    matrices = _soften_matrices()
    n, blurs = len(images), 9
    chosen = torch.rand(n)
    kind = torch.zeros(n, dtype=torch.long)
    kind = torch.where(chosen < blur, torch.randint(1, blurs, (n,)), kind)
    kind = torch.where(chosen > 1 - coarse, torch.randint(blurs, len(matrices), (n,)), kind)
    some = kind.nonzero().squeeze(1)
    picked = matrices[kind[some]]
    images[some] = picked @ images[some] @ picked.transpose(1, 2)
    return images


def _shake(images: Tensor, probability: float) -> None:
    """Blurs some along a line of any direction, in place."""
    chosen = _some(len(images), probability)
    n, reach = len(chosen), 4
    if not n:
        return
    angle, length = _uniform(n, 0, math.pi), _uniform(n, 1.0, reach)
    line = torch.arange(-reach, reach + 1, dtype=torch.float32)
    rows, columns = line.view(-1, 1), line.view(1, -1)
    across = (columns * angle.sin() - rows * angle.cos()).abs()
    along = (columns * angle.cos() + rows * angle.sin()).abs()
    kernels = (1 - across).clamp_min(0) * (length + 0.5 - along).clamp(0, 1)
    kernels = kernels / kernels.sum((1, 2), keepdim=True)
    images[chosen] = functional.conv2d(images[chosen].unsqueeze(0), kernels.unsqueeze(1), padding=reach, groups=n)[0]


# --- ink, paper and light ----------------------------------------------------


def _waves(n: int, low: float, high: float) -> Tensor:
    """Stripes of any direction, from 0 to 1, with a period of so many pixels."""
    rows, columns = _coordinates()
    # Half of them follow a scanner's lines or columns.
    angle = _uniform(n, 0, math.pi)
    angle = torch.where(torch.rand(n, 1, 1) < 0.5, (angle * 2 / math.pi).round() * math.pi / 2, angle)
    place = rows * angle.sin() + columns * angle.cos()
    wave = 0.5 + 0.5 * (place * (2 * math.pi / _uniform(n, low, high)) + _uniform(n, 0, 2 * math.pi)).sin()
    return wave


def _paper(n: int) -> Tensor:
    """What is on the paper beside the digit: brightness [n, 28, 28], mostly 0."""
    rows, columns = _coordinates()
    paper = torch.zeros(n, SIZE, SIZE)
    # An even tone.
    some = _some(n, 0.35)
    paper[some] += _uniform(len(some), 0.0, 0.55)
    # A shadow: it grows along a direction.
    some = _some(n, 0.25)
    angle = _uniform(len(some), 0, 2 * math.pi)
    ramp = ((rows - 13.5) * angle.sin() + (columns - 13.5) * angle.cos()) / 27 + 0.5
    paper[some] += ramp.clamp(0, 1) * _uniform(len(some), 0.1, 0.6)
    # Stripes of a copier.
    some = _some(n, 0.12)
    paper[some] += _waves(len(some), 2.0, 12.0) ** 2 * _uniform(len(some), 0.05, 0.35)
    # Printed lines: narrow crests of wide waves.
    some = _some(n, 0.10)
    lines = ((_waves(len(some), 8.0, 30.0) - 0.9) * 10).clamp(0, 1)
    paper[some] = torch.maximum(paper[some], lines * _uniform(len(some), 0.15, 0.8))
    return paper.clamp_max(0.75)


def _grain(images: Tensor, contrast: Tensor) -> None:
    """Adds the noise of a sensor, of few photons, and specks, each to some, in place; weak noise more often."""
    n = len(images)
    some = _some(n, 0.25)
    deviation = _uniform(len(some), 0.15, 0.5) ** 2 * (0.3 + 0.7 * contrast[some])
    images[some] += torch.randn(len(some), SIZE, SIZE) * deviation
    some = _some(n, 0.15)
    part = images[some]
    deviation = _uniform(len(some), 0.25, 0.7) ** 2
    images[some] = part + torch.randn_like(part) * part.clamp_min(0).sqrt() * deviation
    some = _some(n, 0.10)
    chance, share = torch.rand(len(some), SIZE, SIZE), _uniform(len(some), 0.07, 0.4) ** 2
    part = torch.where(chance < share, torch.ones(()), images[some])
    images[some] = torch.where(chance > 1 - share, torch.zeros(()), part)


def _hide(images: Tensor, probability: float) -> None:
    """Covers a small rectangle of some, in place."""
    chosen = _some(len(images), probability)
    n = len(chosen)
    rows, columns = _coordinates()
    height, width = _uniform(n, 1.5, 4), _uniform(n, 1.5, 4)
    covered = (rows - _uniform(n, 4, 24)).abs() < height
    covered = covered & ((columns - _uniform(n, 4, 24)).abs() < width)
    tone = torch.where(torch.rand(n, 1, 1) < 0.7, torch.zeros(()), _uniform(n, 0, 1))
    images[chosen] = torch.where(covered, tone, images[chosen])


def _tone(images: Tensor, probability: float) -> Tensor:
    """Bends the scale of greys of some."""
    n = len(images)
    chosen = torch.rand(n, 1, 1) < probability
    gamma = torch.where(chosen, _uniform(n, -0.8, 0.8).exp(), torch.ones(()))
    return images.clamp(1e-4, 1) ** gamma


def _mild(images: Tensor, labels: Tensor) -> Tensor:
    _restyle(images, labels, 0.04)
    _pen(images, 0.3, 0.5)
    images = _warp(images, MILD_GEOMETRY)
    return _soften(images, 0.08, 0.03)


def _strong(images: Tensor, labels: Tensor) -> Tensor:
    n = len(images)
    _restyle(images, labels, 0.15)
    _pen(images, 0.6, 1.0)
    # Half are moved far, half as mildly as MNIST's own.
    far = _some(n, 0.5)
    moved = torch.zeros(n, dtype=torch.bool).index_fill_(0, far, True)
    for part, most in ((moved, STRONG_GEOMETRY), (~moved, MILD_GEOMETRY)):
        images[part] = _warp(images[part], most)
    images = _soften(images, 0.25, 0.20)
    _shake(images, 0.15)
    images = _tone(images, 0.3)
    _hide(images, 0.08)
    paper = _paper(n)
    # Ink stays at least 0.3 brighter than paper, and may be as faint as that.
    faint = torch.where(torch.rand(n, 1, 1) < 0.4, torch.rand(n, 1, 1), torch.ones(()))
    ink = paper + 0.3 + (0.7 - paper).clamp_min(0) * faint
    contrast = (ink - paper).amax((1, 2), keepdim=True)
    images = paper + (ink - paper) * images
    _grain(images, contrast)
    return images


def views(images: Tensor, labels: Tensor, mix: Mix | None = None) -> tuple[Tensor, Tensor]:
    """Returns a view u8 [n, 28, 28] of each image u8 [n, 28, 28], and its kind [n]."""
    mix = mix or Mix()
    n = len(images)
    chosen = torch.rand(n)
    kinds = (chosen >= mix.clean).long() + (chosen >= mix.clean + mix.mild).long()
    result = images.clone()
    for kind, change in ((MILD, _mild), (STRONG, _strong)):
        some = (kinds == kind).nonzero().squeeze(1)
        if len(some):
            changed = change(images[some].float().div_(255.0), labels[some])
            result[some] = changed.clamp_(0, 1).mul_(255.0).round_().to(torch.uint8)
    return result, kinds


def parse_arguments() -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--data", type=pathlib.Path, required=True, help="MNIST files")
    parser.add_argument(
        "--sheet", type=pathlib.Path, required=True, help="PNG to write: rows of digits and their views"
    )
    parser.add_argument("--kind", choices=("mild", "strong", "mix"), default="strong", help="of the views")
    parser.add_argument("--digits", type=int, default=20, help="rows")
    parser.add_argument("--seed", type=int, default=1)
    return parser.parse_args()


def main() -> None:
    """Writes a picture of views: a row a digit, the original first."""
    args = parse_arguments()
    torch.set_num_threads(1)
    torch.manual_seed(args.seed)
    images, labels = data.load(args.data, "train")
    order = labels[:1000].argsort(stable=True)
    chosen = order[:: len(order) // args.digits][: args.digits]
    columns = 24
    many = chosen.repeat_interleave(columns)
    mix = {"mild": Mix(0.0, 1.0), "strong": Mix(0.0, 0.0), "mix": Mix()}[args.kind]
    seen, _ = views(images[many], labels[many], mix)
    seen.view(-1, columns, SIZE, SIZE)[:, 0] = images[chosen]
    sheet.save_sheet(args.sheet, seen, columns)
    start = time.process_time()
    for part in range(0, 10000, 500):
        views(images[part : part + 500], labels[part : part + 500])
    print(f"wrote {args.sheet}; 60,000 views take {6 * (time.process_time() - start):.1f} s of CPU")


if __name__ == "__main__":
    main()
