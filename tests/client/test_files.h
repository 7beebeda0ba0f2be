#ifndef MNIST_VIT_TESTS_CLIENT_TEST_FILES_H_
#define MNIST_VIT_TESTS_CLIENT_TEST_FILES_H_

#include <gtest/gtest.h>
#include <stdlib.h>
#include <zlib.h>

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <span>
#include <string>
#include <system_error>
#include <vector>

namespace vit::testing {

using Bytes = std::vector<uint8_t>;

// A folder that no other test has; removed, with all in it, at the end.
class TempFolder {
 public:
  TempFolder() : path_(::testing::TempDir() + "/vit-client-XXXXXX") {
    if (mkdtemp(path_.data()) == nullptr) {
      ADD_FAILURE() << "cannot make " << path_;
    }
  }
  ~TempFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TempFolder(const TempFolder&) = delete;
  TempFolder& operator=(const TempFolder&) = delete;

  const std::string& path() const { return path_; }

  // The path of a file in the folder, which need not be there.
  std::string File(const std::string& name) const { return path_ + "/" + name; }

  // Writes a file and returns its path.
  std::string Write(const std::string& name,
                    std::span<const uint8_t> bytes) const {
    std::ofstream file(File(name), std::ios::binary);
    for (const uint8_t byte : bytes) file.put(static_cast<char>(byte));
    file.close();
    EXPECT_TRUE(file.good()) << File(name);
    return File(name);
  }

  // The same, gzipped.
  std::string WriteGzip(const std::string& name,
                        std::span<const uint8_t> bytes) const {
    const gzFile file = gzopen(File(name).c_str(), "wb");
    EXPECT_EQ(gzwrite(file, bytes.data(), static_cast<unsigned>(bytes.size())),
              static_cast<int>(bytes.size()));
    EXPECT_EQ(gzclose(file), Z_OK);
    return File(name);
  }

 private:
  std::string path_;
};

inline Bytes ReadBytes(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  EXPECT_TRUE(file.good()) << path;
  return Bytes(std::istreambuf_iterator<char>(file), {});
}

inline std::string ReadText(const std::string& path) {
  const Bytes bytes = ReadBytes(path);
  return std::string(bytes.begin(), bytes.end());
}

// An IDX file of unsigned bytes. The sizes need not be those of the elements.
inline Bytes IdxFile(std::span<const uint32_t> sizes,
                     std::span<const uint8_t> elements) {
  Bytes file = {0, 0, 8, static_cast<uint8_t>(sizes.size())};
  for (const uint32_t size : sizes) {
    for (int shift = 24; shift >= 0; shift -= 8) {
      file.push_back(static_cast<uint8_t>(size >> shift));
    }
  }
  file.insert(file.end(), elements.begin(), elements.end());
  return file;
}

inline Bytes IdxLabels(const Bytes& labels) {
  return IdxFile(std::vector{static_cast<uint32_t>(labels.size())}, labels);
}

// Images of `rows` x `columns` pixels, as many as the pixels make.
inline Bytes IdxImages(uint32_t rows, uint32_t columns, const Bytes& pixels) {
  const auto count = static_cast<uint32_t>(pixels.size() / (rows * columns));
  return IdxFile(std::vector{count, rows, columns}, pixels);
}

// A file of the MNIST test set.
inline std::string MnistFile(const std::string& name) {
  return VIT_SOURCE_DIR "/tests/data/mnist/" + name;
}

}  // namespace vit::testing

#endif  // MNIST_VIT_TESTS_CLIENT_TEST_FILES_H_
