#include "client/mnist_form.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <numeric>
#include <random>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "client/idx.h"
#include "tests/client/test_files.h"

namespace vit::client {
namespace {

using ::testing::HasSubstr;

constexpr int kDigits = 50;

// One of the first images of the MNIST test set.
GreyPicture MnistDigit(int index) {
  static const auto& images = *new IdxImages(
      ReadIdxImages(testing::MnistFile("t10k-images-idx3-ubyte.gz")).value());
  const auto pixels = images.image(index);
  return {28, 28, std::vector<uint8_t>(pixels.begin(), pixels.end())};
}

GreyPicture Blank(int width, int height, uint8_t level) {
  return {width, height,
          std::vector<uint8_t>(static_cast<size_t>(width) * height, level)};
}

void FillBox(GreyPicture& picture, int left, int top, int width, int height,
             uint8_t level) {
  for (int y = top; y < top + height; ++y) {
    for (int x = left; x < left + width; ++x) {
      picture.pixels[static_cast<size_t>(y) * picture.width + x] = level;
    }
  }
}

GreyPicture Inverted(GreyPicture picture) {
  for (uint8_t& pixel : picture.pixels) {
    pixel = static_cast<uint8_t>(255 - pixel);
  }
  return picture;
}

// A picture of width x height that shows another `scale` times as big.
GreyPicture Enlarged(const GreyPicture& small, int scale, int left, int top,
                     int width, int height) {
  GreyPicture picture = Blank(width, height, 0);
  for (int y = 0; y < small.height; ++y) {
    for (int x = 0; x < small.width; ++x) {
      FillBox(picture, left + x * scale, top + y * scale, scale, scale,
              small.at(x, y));
    }
  }
  return picture;
}

GreyPicture Form(const GreyPicture& picture) {
  const absl::StatusOr<GreyPicture> form = ToMnistForm(picture);
  EXPECT_TRUE(form.ok()) << form.status();
  return form.value_or(Blank(28, 28, 0));
}

// How alike two pictures of one size are: the correlation of their pixels, from
// -1 to 1. It does not depend on the strength of the ink, and drops where lines
// do not lie over each other: a digit of MNIST shifted by one pixel has 0.5 to
// 0.85 with itself.
double Likeness(const GreyPicture& a, const GreyPicture& b) {
  const auto mean = [](const GreyPicture& p) {
    return std::accumulate(p.pixels.begin(), p.pixels.end(), 0.0) /
           static_cast<double>(p.pixels.size());
  };
  const double mean_a = mean(a);
  const double mean_b = mean(b);
  double ab = 0, aa = 0, bb = 0;
  for (size_t i = 0; i < a.pixels.size(); ++i) {
    const double da = a.pixels[i] - mean_a;
    const double db = b.pixels[i] - mean_b;
    ab += da * db;
    aa += da * da;
    bb += db * db;
  }
  return ab / std::sqrt(aa * bb);
}

// The same, at the best of all shifts of up to a pixel: the centre of mass is
// placed on a whole pixel, and a little ink can decide which one.
double LikenessNearby(const GreyPicture& a, const GreyPicture& b) {
  double best = -1;
  for (const int shift : {-29, -28, -27, -1, 0, 1, 27, 28, 29}) {
    GreyPicture shifted = a;
    // The borders are empty, so a shift of all pixels does not tear a digit.
    const int size = static_cast<int>(a.pixels.size());
    for (int i = 0; i < size; ++i) {
      shifted.pixels[i] = a.pixels[(i + shift + size) % size];
    }
    best = std::max(best, Likeness(shifted, b));
  }
  return best;
}

// The rows and columns of a picture that have ink, and its centre of mass.
struct Extent {
  int left = 28, right = -1, top = 28, bottom = -1;
  double centre_x = 0, centre_y = 0;
};

Extent ExtentOf(const GreyPicture& picture) {
  Extent extent;
  double mass = 0;
  for (int y = 0; y < picture.height; ++y) {
    for (int x = 0; x < picture.width; ++x) {
      const int ink = picture.at(x, y);
      if (ink == 0) continue;
      extent.left = std::min(extent.left, x);
      extent.right = std::max(extent.right, x);
      extent.top = std::min(extent.top, y);
      extent.bottom = std::max(extent.bottom, y);
      mass += ink;
      extent.centre_x += ink * x;
      extent.centre_y += ink * y;
    }
  }
  extent.centre_x /= mass;
  extent.centre_y /= mass;
  return extent;
}

// All of them, since their darkest ink is 254 or 255.
TEST(MnistFormTest, ImagesOfMnistComeBackUnchanged) {
  int in_form = 0;
  for (int i = 0; i < 10000; ++i) {
    const GreyPicture digit = MnistDigit(i);
    // A few images are smaller than the others.
    const Extent extent = ExtentOf(digit);
    const int side =
        1 + std::max(extent.right - extent.left, extent.bottom - extent.top);
    if (side != 20) continue;
    ++in_form;
    const GreyPicture form = Form(digit);
    EXPECT_EQ(form.width, 28);
    EXPECT_EQ(form.height, 28);
    ASSERT_EQ(form.pixels, digit.pixels) << i;
  }
  EXPECT_GT(in_form, 9990);
}

TEST(MnistFormTest, DarkInkOnALightGroundIsInverted) {
  for (int i = 0; i < kDigits; ++i) {
    EXPECT_EQ(Form(Inverted(MnistDigit(i))).pixels, MnistDigit(i).pixels) << i;
  }
}

TEST(MnistFormTest, AnEnlargedAndShiftedDigitComesBackNearToItself) {
  for (int i = 0; i < kDigits; ++i) {
    const GreyPicture digit = MnistDigit(i);
    const GreyPicture form = Form(Enlarged(digit, 5, 90, 20, 320, 200));
    EXPECT_GT(Likeness(form, digit), 0.95) << i;
  }
}

TEST(MnistFormTest, AWeakDigitIsStretchedToFullInk) {
  GreyPicture weak = MnistDigit(0);
  for (uint8_t& pixel : weak.pixels) {
    pixel = static_cast<uint8_t>(60 + pixel / 5);
  }
  const GreyPicture form = Form(weak);
  EXPECT_EQ(form.at(0, 0), 0);
  EXPECT_EQ(*std::ranges::max_element(form.pixels), 255);
  EXPECT_GT(Likeness(form, MnistDigit(0)), 0.99);
}

TEST(MnistFormTest, ADigitOnANoisyGroundComesBackNearToItself) {
  std::mt19937 random(7);
  std::normal_distribution<double> noise(0, 6);
  for (int i = 0; i < kDigits; ++i) {
    const GreyPicture digit = MnistDigit(i);
    GreyPicture photo = Enlarged(digit, 6, 40, 30, 260, 240);
    for (uint8_t& pixel : photo.pixels) {
      // Ink of level 40 on paper of level 200.
      const double level = 200 - pixel * (160 / 255.0) + noise(random);
      pixel = static_cast<uint8_t>(std::lround(std::clamp(level, 0.0, 255.0)));
    }
    const GreyPicture form = Form(photo);
    EXPECT_GT(LikenessNearby(form, digit), 0.95) << i;
    EXPECT_LE(form.at(0, 0), 8) << i;
  }
}

TEST(MnistFormTest, TheLongerSideIsTwentyPixelsAndTheAspectIsKept) {
  GreyPicture picture = Blank(300, 200, 0);
  FillBox(picture, 200, 30, 50, 100, 255);
  const Extent tall = ExtentOf(Form(picture));
  EXPECT_EQ(tall.right - tall.left + 1, 10);
  EXPECT_EQ(tall.bottom - tall.top + 1, 20);

  // A small one is enlarged.
  GreyPicture small = Blank(30, 20, 255);
  FillBox(small, 3, 3, 10, 5, 0);
  const Extent wide = ExtentOf(Form(small));
  EXPECT_EQ(wide.right - wide.left + 1, 20);
  EXPECT_EQ(wide.bottom - wide.top + 1, 10);
}

TEST(MnistFormTest, TheCentreOfMassIsAtTheCentre) {
  // An L: most of its mass is to the left and at the bottom of its box.
  GreyPicture picture = Blank(200, 200, 0);
  FillBox(picture, 20, 20, 20, 100, 255);
  FillBox(picture, 20, 100, 80, 20, 255);
  const Extent extent = ExtentOf(Form(picture));
  EXPECT_NEAR(extent.centre_x, 14, 0.5);
  EXPECT_NEAR(extent.centre_y, 14, 0.5);
  // The centre of its box is not there.
  EXPECT_GT((extent.left + extent.right) / 2.0, 15);
}

TEST(MnistFormTest, AFaintSpeckDoesNotShrinkTheDigit) {
  GreyPicture picture = Blank(200, 200, 255);
  FillBox(picture, 80, 60, 50, 100, 0);
  const std::vector<uint8_t> without = Form(picture).pixels;
  FillBox(picture, 5, 190, 3, 3, 240);
  EXPECT_EQ(Form(picture).pixels, without);
}

TEST(MnistFormTest, AnEmptyPictureIsRejected) {
  const absl::Status status = ToMnistForm(GreyPicture{}).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), HasSubstr("no pixels"));
}

TEST(MnistFormTest, ABlankPictureIsRejected) {
  for (const int level : {0, 128, 255}) {
    const absl::Status status =
        ToMnistForm(Blank(100, 80, static_cast<uint8_t>(level))).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(status.message()), HasSubstr("is blank"));
  }
}

TEST(MnistFormTest, InkNeedsAContrastOf24Levels) {
  GreyPicture picture = Blank(100, 100, 100);
  FillBox(picture, 30, 30, 30, 30, 123);
  const absl::Status status = ToMnistForm(picture).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), HasSubstr("more than 23 of 255"));
  FillBox(picture, 30, 30, 30, 30, 124);
  const GreyPicture form = Form(picture);
  EXPECT_EQ(*std::ranges::max_element(form.pixels), 255);
}

TEST(MnistFormTest, NoiseAloneIsBlank) {
  std::mt19937 random(7);
  std::uniform_int_distribution<int> level(80, 176);
  GreyPicture picture = Blank(100, 100, 0);
  for (uint8_t& pixel : picture.pixels) {
    pixel = static_cast<uint8_t>(level(random));
  }
  const absl::Status status = ToMnistForm(picture).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), HasSubstr("is blank"));
}

TEST(MnistFormTest, ThinPicturesHaveAForm) {
  for (const bool upright : {true, false}) {
    for (const int thickness : {1, 2, 3}) {
      GreyPicture picture =
          upright ? Blank(thickness, 60, 255) : Blank(60, thickness, 255);
      FillBox(picture, upright ? 0 : 20, upright ? 20 : 0, 1, 1, 0);
      const GreyPicture form = Form(picture);
      EXPECT_EQ(form.width, 28);
      EXPECT_EQ(form.height, 28);
      ASSERT_EQ(form.pixels.size(), 784u);
      EXPECT_EQ(form.at(14, 14), 255);
    }
  }
}

TEST(MnistFormTest, APictureOfOnePixelIsBlank) {
  EXPECT_EQ(ToMnistForm(Blank(1, 1, 7)).status().code(),
            absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace vit::client
