#include "client/png.h"

#include <png.h>

#include <array>
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <memory>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"

namespace vit::client {
namespace {

// A decoded picture is held whole: this many bytes.
constexpr uint64_t kMaxPixels = 100'000'000;
constexpr size_t kSignatureBytes = 8;

struct FileClose {
  void operator()(std::FILE* file) const { std::fclose(file); }
};
using File = std::unique_ptr<std::FILE, FileClose>;

struct FreePng {
  void operator()(png_image* image) const { png_image_free(image); }
};

absl::Status Invalid(const std::string& path, const std::string& what) {
  return absl::InvalidArgumentError(absl::StrCat(path, ": ", what));
}

absl::Status CheckSignature(std::FILE* file, const std::string& path) {
  std::array<png_byte, kSignatureBytes> signature{};
  errno = 0;
  const size_t got = std::fread(signature.data(), 1, signature.size(), file);
  if (std::ferror(file) != 0) {
    return absl::ErrnoToStatus(errno == 0 ? EIO : errno, path);
  }
  if (got == 0) return Invalid(path, "empty file");
  if (png_sig_cmp(signature.data(), 0, got) != 0) {
    return Invalid(path, "not a PNG: its first bytes are not PNG's signature");
  }
  if (got < signature.size()) return Invalid(path, "truncated PNG");
  std::rewind(file);
  return absl::OkStatus();
}

// libpng reports an early end of the file as "read error".
absl::Status Damaged(std::FILE* file, const png_image& image,
                     const std::string& path) {
  const char* what = std::feof(file) != 0 ? "truncated PNG: " : "damaged PNG: ";
  return Invalid(path, absl::StrCat(what, image.message));
}

absl::Status Write(int width, int height, const std::vector<uint8_t>& pixels,
                   png_uint_32 format, const std::string& path) {
  png_image image{};
  image.version = PNG_IMAGE_VERSION;
  image.width = static_cast<png_uint_32>(width);
  image.height = static_cast<png_uint_32>(height);
  image.format = format;
  errno = 0;
  if (png_image_write_to_file(&image, path.c_str(), /*convert_to_8_bit=*/0,
                              pixels.data(), /*row_stride=*/0,
                              /*colormap=*/nullptr) == 0) {
    const std::string what = absl::StrCat(path, ": ", image.message);
    return errno != 0 ? absl::ErrnoToStatus(errno, what)
                      : absl::InternalError(what);
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<GreyPicture> ReadPng(const std::string& path) {
  errno = 0;
  const File file(std::fopen(path.c_str(), "rb"));
  if (file == nullptr) return absl::ErrnoToStatus(errno, path);
  if (absl::Status status = CheckSignature(file.get(), path); !status.ok()) {
    return status;
  }
  png_image image{};
  const std::unique_ptr<png_image, FreePng> free_image(&image);
  image.version = PNG_IMAGE_VERSION;
  if (png_image_begin_read_from_stdio(&image, file.get()) == 0) {
    return Damaged(file.get(), image, path);
  }
  const uint64_t pixels = uint64_t{image.width} * image.height;
  if (pixels > kMaxPixels) {
    return Invalid(
        path, absl::StrCat("too big: ", image.width, " x ", image.height,
                           " pixels, at most ", kMaxPixels, " are supported"));
  }
  image.format = PNG_FORMAT_GRAY;
  // Without it, 16 bits without a colour space are taken for linear light.
  image.flags |= PNG_IMAGE_FLAG_16BIT_sRGB;
  const png_color white{255, 255, 255};
  GreyPicture picture;
  picture.width = static_cast<int>(image.width);
  picture.height = static_cast<int>(image.height);
  picture.pixels.resize(pixels);
  if (png_image_finish_read(&image, &white, picture.pixels.data(),
                            /*row_stride=*/0, /*colormap=*/nullptr) == 0) {
    return Damaged(file.get(), image, path);
  }
  return picture;
}

absl::Status WritePng(const GreyPicture& picture, const std::string& path) {
  return Write(picture.width, picture.height, picture.pixels, PNG_FORMAT_GRAY,
               path);
}

absl::Status WritePng(const RgbPicture& picture, const std::string& path) {
  return Write(picture.width, picture.height, picture.pixels, PNG_FORMAT_RGB,
               path);
}

}  // namespace vit::client
