#include "model/safetensors.h"

#include <bit>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <system_error>

#include "absl/strings/str_cat.h"
#include "model/safetensors_digest.h"

namespace vit {
namespace {

static_assert(std::endian::native == std::endian::little,
              "safetensors values are read as they lie in the file");

constexpr uint64_t kLengthBytes = 8;
// The limit of the format's own reader.
constexpr uint64_t kMaxHeaderBytes = 100'000'000;

template <typename T>
constexpr const char* kDtype = nullptr;
template <>
constexpr const char* kDtype<float> = "F32";
template <>
constexpr const char* kDtype<uint8_t> = "U8";
template <>
constexpr const char* kDtype<int64_t> = "I64";

absl::StatusOr<std::vector<uint8_t>> ReadFile(const std::string& path) {
  std::error_code error;
  const auto bytes = std::filesystem::file_size(path, error);
  if (error == std::errc::no_such_file_or_directory) {
    return absl::NotFoundError("no such file");
  }
  if (error) return absl::UnavailableError(error.message());
  std::vector<uint8_t> file(bytes);
  std::ifstream in(path, std::ios::binary);
  if (!in.read(reinterpret_cast<char*>(file.data()),
               static_cast<std::streamsize>(bytes))) {
    return absl::UnavailableError(
        absl::StrCat("cannot be read: ", std::strerror(errno)));
  }
  return file;
}

}  // namespace

absl::StatusOr<SafeTensors> SafeTensors::Load(const std::string& path) {
  const absl::StatusOr<std::vector<uint8_t>> file = ReadFile(path);
  absl::StatusOr<SafeTensors> tensors =
      file.ok() ? Parse(*file) : absl::StatusOr<SafeTensors>(file.status());
  if (tensors.ok()) return tensors;
  return absl::Status(tensors.status().code(),
                      absl::StrCat(path, ": ", tensors.status().message()));
}

absl::StatusOr<SafeTensors> SafeTensors::Parse(std::span<const uint8_t> file) {
  if (file.size() < kLengthBytes) {
    return absl::InvalidArgumentError(absl::StrCat(
        "file has ", file.size(), " bytes, expected at least ", kLengthBytes));
  }
  uint64_t header_bytes = 0;
  std::memcpy(&header_bytes, file.data(), kLengthBytes);
  if (header_bytes > kMaxHeaderBytes) {
    return absl::InvalidArgumentError(
        absl::StrCat("header length is ", header_bytes,
                     " bytes, expected at most ", kMaxHeaderBytes));
  }
  const std::span<const uint8_t> rest = file.subspan(kLengthBytes);
  if (header_bytes > rest.size()) {
    return absl::InvalidArgumentError(
        absl::StrCat("header length is ", header_bytes, " bytes, but only ",
                     rest.size(), " follow"));
  }
  const std::span<const uint8_t> json = rest.first(header_bytes);
  const std::span<const uint8_t> data = rest.subspan(header_bytes);
  absl::StatusOr<SafeTensorsHeader> header =
      ParseSafeTensorsHeader(json, static_cast<int64_t>(data.size()));
  if (!header.ok()) return header.status();
  absl::StatusOr<std::string> digest =
      CheckedDigest(file, json, header->metadata);
  if (!digest.ok()) return digest.status();
  return SafeTensors(*std::move(header),
                     std::vector<uint8_t>(data.begin(), data.end()),
                     *std::move(digest));
}

template <typename T>
absl::StatusOr<std::vector<T>> SafeTensors::Values(
    const std::string& name) const {
  const auto it = header_.tensors.find(name);
  if (it == header_.tensors.end()) {
    return absl::NotFoundError(
        absl::StrCat("tensor \"", name, "\" is missing"));
  }
  const TensorEntry& entry = it->second;
  if (entry.dtype != kDtype<T>) {
    return absl::InvalidArgumentError(absl::StrCat("tensor \"", name,
                                                   "\": dtype is ", entry.dtype,
                                                   ", expected ", kDtype<T>));
  }
  const size_t bytes = static_cast<size_t>(entry.end - entry.begin);
  std::vector<T> values(bytes / sizeof(T));
  if (bytes > 0) std::memcpy(values.data(), data_.data() + entry.begin, bytes);
  return values;
}

template absl::StatusOr<std::vector<float>> SafeTensors::Values<float>(
    const std::string&) const;
template absl::StatusOr<std::vector<uint8_t>> SafeTensors::Values<uint8_t>(
    const std::string&) const;
template absl::StatusOr<std::vector<int64_t>> SafeTensors::Values<int64_t>(
    const std::string&) const;

}  // namespace vit
