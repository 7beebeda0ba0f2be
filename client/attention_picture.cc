#include "client/attention_picture.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include "client/explain.h"

namespace vit::client {
namespace {

constexpr int kTileScale = 4;
constexpr int kTileGap = 4;  // pixels
constexpr uint8_t kGapColour = 48;
// How much of a pixel is the heat; the rest is the image.
constexpr double kHeatPart = 0.6;
constexpr std::string_view kShades = " .:-=+*#%@";

using Colour = std::array<double, 3>;

// From no attention to most. Brightness rises throughout, so that the picture
// can be read without its colours.
constexpr std::array<Colour, 6> kHeat = {{{8, 8, 32},
                                          {72, 16, 96},
                                          {168, 40, 96},
                                          {232, 88, 48},
                                          {252, 164, 40},
                                          {252, 250, 164}}};

Colour HeatColour(double heat) {
  const double place = std::clamp(heat, 0.0, 1.0) * (kHeat.size() - 1);
  const size_t below = std::min(static_cast<size_t>(place), kHeat.size() - 2);
  const double part = place - static_cast<double>(below);
  Colour colour{};
  for (size_t c = 0; c < colour.size(); ++c) {
    colour[c] = (1 - part) * kHeat[below][c] + part * kHeat[below + 1][c];
  }
  return colour;
}

// Weights scaled so that the largest is 1.
std::vector<double> Normalised(std::span<const double> weights) {
  std::vector<double> heat(weights.begin(), weights.end());
  const double largest = *std::max_element(heat.begin(), heat.end());
  if (largest > 0) {
    for (double& h : heat) h /= largest;
  }
  return heat;
}

// Between the centres of the patches, bilinear. y and x from 0 to 1.
double HeatAt(std::span<const double> heat, const PatchMap& map, double y,
              double x) {
  const double row =
      std::clamp(y * map.grid_height - 0.5, 0.0, map.grid_height - 1.0);
  const double column =
      std::clamp(x * map.grid_width - 0.5, 0.0, map.grid_width - 1.0);
  const int top = static_cast<int>(row);
  const int left = static_cast<int>(column);
  const int bottom = std::min(top + 1, map.grid_height - 1);
  const int right = std::min(left + 1, map.grid_width - 1);
  const double down = row - top;
  const double across = column - left;
  const auto at = [&](int r, int c) { return heat[r * map.grid_width + c]; };
  return (1 - down) * ((1 - across) * at(top, left) + across * at(top, right)) +
         down * ((1 - across) * at(bottom, left) + across * at(bottom, right));
}

void Paste(const RgbPicture& tile, int left, int top, RgbPicture& picture) {
  const size_t row_bytes = static_cast<size_t>(tile.width) * 3;
  for (int y = 0; y < tile.height; ++y) {
    const size_t to = (static_cast<size_t>(top + y) * picture.width + left) * 3;
    std::copy_n(tile.pixels.begin() + static_cast<ptrdiff_t>(y * row_bytes),
                row_bytes, picture.pixels.begin() + static_cast<ptrdiff_t>(to));
  }
}

char Shade(double part) {
  const auto place = static_cast<size_t>(
      std::lround(std::clamp(part, 0.0, 1.0) * (kShades.size() - 1)));
  return kShades[place];
}

}  // namespace

RgbPicture AttentionOverlay(const GreyPicture& image, const PatchMap& map,
                            int scale) {
  const std::vector<double> heat = Normalised(map.weights);
  RgbPicture picture{image.width * scale, image.height * scale, {}};
  picture.pixels.reserve(static_cast<size_t>(picture.width) * picture.height *
                         3);
  for (int y = 0; y < picture.height; ++y) {
    for (int x = 0; x < picture.width; ++x) {
      const double grey = image.at(x / scale, y / scale);
      const Colour colour = HeatColour(HeatAt(
          heat, map, (y + 0.5) / picture.height, (x + 0.5) / picture.width));
      for (const double channel : colour) {
        picture.pixels.push_back(static_cast<uint8_t>(
            std::lround(kHeatPart * channel + (1 - kHeatPart) * grey)));
      }
    }
  }
  return picture;
}

RgbPicture AttentionGrid(const GreyPicture& image,
                         const v1::ExplainResponse& response) {
  int heads = 0;
  for (const v1::LayerAttention& layer : response.layers()) {
    heads = std::max(heads, layer.heads_size());
  }
  const int tile_width = image.width * kTileScale + kTileGap;
  const int tile_height = image.height * kTileScale + kTileGap;
  RgbPicture picture{heads * tile_width + kTileGap,
                     response.layers_size() * tile_height + kTileGap,
                     {}};
  picture.pixels.assign(static_cast<size_t>(picture.width) * picture.height * 3,
                        kGapColour);
  for (int l = 0; l < response.layers_size(); ++l) {
    for (int h = 0; h < response.layers(l).heads_size(); ++h) {
      const auto attention = SelectAttention(response, {l, h});
      if (!attention.ok()) continue;  // cannot be: l and h are in range
      const std::vector<double> weights = PatchWeights(response, *attention);
      const PatchMap map{response.grid_height(), response.grid_width(),
                         weights};
      Paste(AttentionOverlay(image, map, kTileScale), kTileGap + h * tile_width,
            kTileGap + l * tile_height, picture);
    }
  }
  return picture;
}

std::string AttentionAscii(const GreyPicture& image, const PatchMap& map) {
  const std::vector<double> heat = Normalised(map.weights);
  std::string text;
  // A character is about twice as high as it is wide.
  for (int y = 0; y + 1 < image.height; y += 2) {
    for (int x = 0; x < image.width; ++x) {
      text += Shade((image.at(x, y) + image.at(x, y + 1)) / 510.0);
    }
    text += " | ";
    for (int x = 0; x < image.width; ++x) {
      text += Shade(
          HeatAt(heat, map, (y + 1.0) / image.height, (x + 0.5) / image.width));
    }
    // No blanks at the end of a line.
    text.erase(text.find_last_not_of(' ') + 1);
    text += '\n';
  }
  return text;
}

}  // namespace vit::client
