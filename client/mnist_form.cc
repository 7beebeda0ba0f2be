#include "client/mnist_form.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace vit::client {
namespace {

// The longer side of a digit's bounding box in MNIST's images, pixels.
constexpr int kDigitSide = 20;
// In MNIST's images the centre of mass is within half a pixel of this column
// and row, the first being 0.
constexpr double kCentre = 14;
// A digit differs from its background by at least this, in grey levels of 255.
constexpr int kMinContrast = 24;
// The darkest ink of MNIST's images is 254 or 255: neither needs stretching.
constexpr int kFullInk = 254;
// Three standard deviations of normal noise, from its median deviation.
constexpr double kNoiseFromMedianDeviation = 3 * 1.4826;
// Ink below this part of the darkest ink does not widen the bounding box, so
// that specks and compression artefacts far from the digit do not.
constexpr double kFaintInk = 0.1;
// The same where the background is noisy: the tail of the noise is as likely as
// the picture is big.
constexpr double kFaintInkInNoise = 0.35;

using Histogram = std::array<int64_t, 256>;

struct Box {
  int left = 0, top = 0, width = 0, height = 0;  // pixels
};

// The smallest level that at least the part `quantile` of the pixels is within.
int Quantile(const Histogram& histogram, double quantile) {
  int64_t total = 0;
  for (const int64_t count : histogram) total += count;
  const double wanted = quantile * static_cast<double>(total);
  int64_t seen = 0;
  for (int level = 0; level < 255; ++level) {
    seen += histogram[level];
    if (seen > 0 && static_cast<double>(seen) >= wanted) return level;
  }
  return 255;
}

Histogram BorderHistogram(const GreyPicture& picture) {
  const int border =
      std::max(1, std::min(picture.width, picture.height) / kMnistSide);
  Histogram histogram{};
  for (int y = 0; y < picture.height; ++y) {
    const bool whole = y < border || y >= picture.height - border;
    for (int x = 0; x < picture.width; ++x) {
      // Jump over the inner part of a row.
      if (!whole && x == border) x = std::max(x, picture.width - border);
      if (x < picture.width) ++histogram[picture.at(x, y)];
    }
  }
  return histogram;
}

// The level of 255 below which a deviation from the background is noise.
int NoiseLevel(const Histogram& border, int background) {
  Histogram deviations{};
  for (int level = 0; level < 256; ++level) {
    deviations[std::abs(level - background)] += border[level];
  }
  return static_cast<int>(
      std::lround(kNoiseFromMedianDeviation * Quantile(deviations, 0.5)));
}

// Whether the ink is darker than the background. Strong deviations decide: they
// are the ink, and noise goes both ways.
bool IsDarkInk(const Histogram& all, int background) {
  double dark = 0;
  double light = 0;
  for (int level = 0; level < 256; ++level) {
    const double deviation = level - background;
    (deviation < 0 ? dark : light) +=
        deviation * deviation * static_cast<double>(all[level]);
  }
  return dark > light;
}

Box BoundingBox(const GreyPicture& ink, int threshold) {
  int left = ink.width, right = -1, top = ink.height, bottom = -1;
  for (int y = 0; y < ink.height; ++y) {
    for (int x = 0; x < ink.width; ++x) {
      if (ink.at(x, y) <= threshold) continue;
      left = std::min(left, x);
      right = std::max(right, x);
      top = std::min(top, y);
      bottom = y;
    }
  }
  return {left, top, right - left + 1, bottom - top + 1};
}

// Averages `source` over `target` equal parts of itself, pixels split between
// parts by their area. Strides are in elements.
void AverageLine(const float* source, int source_size, int source_stride,
                 float* target, int target_size, int target_stride) {
  const double step = static_cast<double>(source_size) / target_size;
  for (int i = 0; i < target_size; ++i) {
    const double begin = i * step;
    const double end =
        std::min((i + 1) * step, static_cast<double>(source_size));
    double sum = 0;
    for (int j = static_cast<int>(begin); j < source_size && j < end; ++j) {
      const double part =
          std::min(end, j + 1.0) - std::max(begin, static_cast<double>(j));
      sum += part * source[static_cast<ptrdiff_t>(j) * source_stride];
    }
    target[static_cast<ptrdiff_t>(i) * target_stride] =
        static_cast<float>(sum / (end - begin));
  }
}

// The part of a picture in a box, scaled to width x height.
std::vector<float> ScaleBox(const GreyPicture& picture, const Box& box,
                            int width, int height) {
  std::vector<float> narrow(static_cast<size_t>(box.height) * width);
  std::vector<float> line(box.width);
  for (int y = 0; y < box.height; ++y) {
    for (int x = 0; x < box.width; ++x) {
      line[x] = picture.at(box.left + x, box.top + y);
    }
    AverageLine(line.data(), box.width, 1,
                &narrow[static_cast<size_t>(y) * width], width, 1);
  }
  std::vector<float> scaled(static_cast<size_t>(width) * height);
  for (int x = 0; x < width; ++x) {
    AverageLine(&narrow[x], box.height, width, &scaled[x], height, width);
  }
  return scaled;
}

// Where a line of `size` pixels goes so that `centre` of it is at kCentre, as
// far as it fits.
int Offset(double centre, int size) {
  return std::clamp(static_cast<int>(std::lround(kCentre - centre)), 0,
                    kMnistSide - size);
}

GreyPicture PlaceByMass(std::span<const float> digit, int width, int height) {
  double mass = 0, mass_x = 0, mass_y = 0;
  for (int y = 0; y < height; ++y) {
    for (int x = 0; x < width; ++x) {
      const double ink = digit[static_cast<size_t>(y) * width + x];
      mass += ink;
      mass_x += ink * x;
      mass_y += ink * y;
    }
  }
  const int left = Offset(mass_x / mass, width);
  const int top = Offset(mass_y / mass, height);
  GreyPicture placed{kMnistSide, kMnistSide,
                     std::vector<uint8_t>(kMnistSide * kMnistSide)};
  for (int y = 0; y < height; ++y) {
    for (int x = 0; x < width; ++x) {
      const float ink = digit[static_cast<size_t>(y) * width + x];
      placed.pixels[(top + y) * kMnistSide + left + x] =
          static_cast<uint8_t>(std::lround(std::clamp(ink, 0.0F, 255.0F)));
    }
  }
  return placed;
}

bool IsMnistForm(const GreyPicture& ink) {
  if (ink.width != kMnistSide || ink.height != kMnistSide) return false;
  const Box box = BoundingBox(ink, 0);
  return std::max(box.width, box.height) == kDigitSide;
}

// Ink from 0 to 255 against the background, noise taken away.
GreyPicture Stretch(const GreyPicture& picture, int background, bool dark,
                    int noise, int contrast) {
  std::array<uint8_t, 256> map{};
  for (int level = 0; level < 256; ++level) {
    const int ink = dark ? background - level : level - background;
    const double stretched = 255.0 * (ink - noise) / (contrast - noise);
    map[level] =
        static_cast<uint8_t>(std::lround(std::clamp(stretched, 0.0, 255.0)));
  }
  GreyPicture ink = picture;
  for (uint8_t& pixel : ink.pixels) pixel = map[pixel];
  return ink;
}

}  // namespace

absl::StatusOr<GreyPicture> ToMnistForm(const GreyPicture& picture) {
  if (picture.width <= 0 || picture.height <= 0) {
    return absl::InvalidArgumentError("the picture has no pixels");
  }
  Histogram all{};
  for (const uint8_t pixel : picture.pixels) ++all[pixel];
  const Histogram border = BorderHistogram(picture);
  const int background = Quantile(border, 0.5);
  const bool dark = IsDarkInk(all, background);
  const int noise = NoiseLevel(border, background);
  const int contrast =
      dark ? background - Quantile(all, 0) : Quantile(all, 1) - background;
  if (contrast < std::max(kMinContrast, 2 * noise)) {
    return absl::InvalidArgumentError(absl::StrCat(
        "the picture is blank: nothing in it differs from its background by "
        "more than ",
        contrast, " of 255 grey levels, a digit differs by at least ",
        std::max(kMinContrast, 2 * noise)));
  }
  const int full_ink = contrast >= kFullInk ? 255 : contrast;
  GreyPicture ink = Stretch(picture, background, dark, noise, full_ink);
  if (noise == 0 && IsMnistForm(ink)) return ink;
  const double faint = noise == 0 ? kFaintInk : kFaintInkInNoise;
  const Box box = BoundingBox(ink, static_cast<int>(255 * faint));
  const double scale =
      static_cast<double>(kDigitSide) / std::max(box.width, box.height);
  const int width =
      std::max(1, static_cast<int>(std::lround(box.width * scale)));
  const int height =
      std::max(1, static_cast<int>(std::lround(box.height * scale)));
  return PlaceByMass(ScaleBox(ink, box, width, height), width, height);
}

}  // namespace vit::client
