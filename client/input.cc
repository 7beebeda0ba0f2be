#include "client/input.h"

#include <array>
#include <cerrno>
#include <fstream>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "client/idx.h"
#include "client/mnist_form.h"
#include "client/png.h"

namespace vit::client {
namespace {

enum class Format { kPng, kIdx, kOther };

absl::StatusOr<Format> FormatOf(const std::string& path) {
  errno = 0;
  std::ifstream file(path, std::ios::binary);
  if (!file) return absl::ErrnoToStatus(errno == 0 ? EIO : errno, path);
  std::array<char, 2> start{'?', '?'};
  file.read(start.data(), start.size());
  // A folder opens, and fails when it is read.
  if (file.bad()) return absl::ErrnoToStatus(errno == 0 ? EIO : errno, path);
  if (start == std::array{'\x89', 'P'}) return Format::kPng;
  const bool gzip = start == std::array{'\x1f', '\x8b'};
  const bool idx = start == std::array{'\0', '\0'};
  return gzip || idx ? Format::kIdx : Format::kOther;
}

absl::StatusOr<GreyPicture> LoadPng(const std::string& path) {
  const absl::StatusOr<GreyPicture> picture = ReadPng(path);
  if (!picture.ok()) return picture.status();
  absl::StatusOr<GreyPicture> image = ToMnistForm(*picture);
  if (image.ok()) return image;
  return absl::Status(
      image.status().code(),
      absl::StrCat(path, ": ", std::string(image.status().message())));
}

absl::StatusOr<GreyPicture> LoadIdx(const std::string& path, int index) {
  const absl::StatusOr<IdxImages> images = ReadIdxImages(path);
  if (!images.ok()) return images.status();
  if (index < 0 || index >= images->count) {
    return absl::OutOfRangeError(absl::StrCat(path, ": no image ", index,
                                              ", the file has ", images->count,
                                              " images, from 0"));
  }
  const std::span<const uint8_t> pixels = images->image(index);
  return GreyPicture{images->columns, images->rows,
                     std::vector<uint8_t>(pixels.begin(), pixels.end())};
}

}  // namespace

absl::StatusOr<GreyPicture> LoadImage(const std::string& path,
                                      std::optional<int> index) {
  const absl::StatusOr<Format> format = FormatOf(path);
  if (!format.ok()) return format.status();
  switch (*format) {
    case Format::kIdx:
      return LoadIdx(path, index.value_or(0));
    case Format::kPng:
      if (index.has_value()) {
        return absl::InvalidArgumentError(
            absl::StrCat(path, ": an index is for IDX files, this is a PNG"));
      }
      return LoadPng(path);
    case Format::kOther:
      break;
  }
  return absl::InvalidArgumentError(
      absl::StrCat(path, ": neither a PNG nor an IDX file"));
}

}  // namespace vit::client
