#include "client/idx.h"

#include <zlib.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <limits>
#include <memory>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace vit::client {
namespace {

// Far above any data set that this client is for; it stops a small gzip file
// that unpacks without end.
constexpr uint64_t kMaxElements = uint64_t{1} << 30;
constexpr size_t kChunkBytes = size_t{1} << 20;
constexpr uint8_t kUnsignedByte = 0x08;

struct GzClose {
  void operator()(gzFile file) const { gzclose_r(file); }
};
using GzFile = std::unique_ptr<gzFile_s, GzClose>;

struct IdxData {
  std::vector<int> dimensions;
  std::vector<uint8_t> elements;
};

absl::Status Invalid(const std::string& path, const std::string& what) {
  return absl::InvalidArgumentError(absl::StrCat(path, ": ", what));
}

// Reads until `buffer` is full or the file ends; returns the bytes read.
absl::StatusOr<size_t> Read(gzFile file, const std::string& path,
                            std::span<uint8_t> buffer) {
  size_t done = 0;
  while (done < buffer.size()) {
    errno = 0;
    const auto want =
        static_cast<unsigned>(std::min(buffer.size() - done, kChunkBytes));
    const int got = gzread(file, buffer.data() + done, want);
    if (got < 0) {
      int code = Z_OK;
      const char* message = gzerror(file, &code);
      if (code == Z_ERRNO && errno != 0) {
        return absl::ErrnoToStatus(errno, path);
      }
      return Invalid(path, absl::StrCat("damaged gzip data: ", message));
    }
    if (got == 0) {
      // The end, which for compressed data may have come too early.
      int code = Z_OK;
      gzerror(file, &code);
      if (code == Z_BUF_ERROR) return Invalid(path, "truncated gzip data");
      break;
    }
    done += got;
  }
  return done;
}

absl::StatusOr<std::vector<int>> ReadHeader(gzFile file,
                                            const std::string& path,
                                            int dimensions) {
  std::array<uint8_t, 4> magic{};
  absl::StatusOr<size_t> got = Read(file, path, magic);
  if (!got.ok()) return got.status();
  if (*got < magic.size()) {
    return Invalid(path, absl::StrCat("truncated: ", *got,
                                      " bytes, an IDX file has at least 4"));
  }
  if (magic[0] != 0 || magic[1] != 0) {
    return Invalid(path, absl::StrFormat("not an IDX file: it starts with "
                                         "%02x %02x, expected 00 00",
                                         magic[0], magic[1]));
  }
  if (magic[2] != kUnsignedByte) {
    return Invalid(path, absl::StrFormat("element type %02x, expected %02x "
                                         "(unsigned byte)",
                                         magic[2], kUnsignedByte));
  }
  if (magic[3] != dimensions) {
    return Invalid(
        path,
        absl::StrFormat("%d dimension(s), expected %d (%s)", magic[3],
                        dimensions, dimensions == 1 ? "labels" : "images"));
  }
  std::vector<int> sizes;
  for (int i = 0; i < dimensions; ++i) {
    std::array<uint8_t, 4> b{};
    got = Read(file, path, b);
    if (!got.ok()) return got.status();
    if (*got < b.size()) return Invalid(path, "truncated in its header");
    const uint32_t size = uint32_t{b[0]} << 24 | uint32_t{b[1]} << 16 |
                          uint32_t{b[2]} << 8 | uint32_t{b[3]};
    if (size > kMaxElements) {
      return Invalid(path,
                     absl::StrCat("dimension ", i, " is ", size, ", at most ",
                                  kMaxElements, " is supported"));
    }
    sizes.push_back(static_cast<int>(size));
  }
  return sizes;
}

// Reads `size` elements and makes sure that the file ends there.
absl::StatusOr<std::vector<uint8_t>> ReadElements(gzFile file,
                                                  const std::string& path,
                                                  uint64_t size) {
  std::vector<uint8_t> elements;
  while (elements.size() < size) {
    const size_t before = elements.size();
    const size_t chunk = std::min<uint64_t>(size - before, kChunkBytes);
    elements.resize(before + chunk);
    const absl::StatusOr<size_t> got =
        Read(file, path, std::span(elements).subspan(before));
    if (!got.ok()) return got.status();
    if (*got < chunk) {
      return Invalid(path,
                     absl::StrCat("truncated: ", before + *got,
                                  " bytes of data, its header says ", size));
    }
  }
  uint8_t extra = 0;
  const absl::StatusOr<size_t> got = Read(file, path, std::span(&extra, 1));
  if (!got.ok()) return got.status();
  if (*got > 0) {
    return Invalid(path, absl::StrCat("goes on after the ", size,
                                      " bytes of data that its header says"));
  }
  return elements;
}

absl::StatusOr<IdxData> ReadIdx(const std::string& path, int dimensions) {
  errno = 0;
  const GzFile file(gzopen(path.c_str(), "rb"));
  if (file == nullptr) {
    return absl::ErrnoToStatus(errno == 0 ? ENOMEM : errno, path);
  }
  absl::StatusOr<std::vector<int>> sizes =
      ReadHeader(file.get(), path, dimensions);
  if (!sizes.ok()) return sizes.status();
  uint64_t product = 1;
  for (const int size : *sizes) {
    // Both factors are at most 2^30, so this does not overflow.
    product *= static_cast<uint64_t>(size);
    if (product > kMaxElements) {
      return Invalid(
          path, absl::StrCat("more than ", kMaxElements, " bytes of data"));
    }
  }
  absl::StatusOr<std::vector<uint8_t>> elements =
      ReadElements(file.get(), path, product);
  if (!elements.ok()) return elements.status();
  return IdxData{*std::move(sizes), *std::move(elements)};
}

}  // namespace

absl::StatusOr<IdxImages> ReadIdxImages(const std::string& path) {
  absl::StatusOr<IdxData> data = ReadIdx(path, 3);
  if (!data.ok()) return data.status();
  const std::vector<int>& sizes = data->dimensions;
  if (sizes[0] > 0 && (sizes[1] == 0 || sizes[2] == 0)) {
    return Invalid(
        path, absl::StrFormat("images of %d x %d pixels", sizes[1], sizes[2]));
  }
  return IdxImages{sizes[0], sizes[1], sizes[2], std::move(data->elements)};
}

absl::StatusOr<std::vector<uint8_t>> ReadIdxLabels(const std::string& path) {
  absl::StatusOr<IdxData> data = ReadIdx(path, 1);
  if (!data.ok()) return data.status();
  return std::move(data->elements);
}

}  // namespace vit::client
