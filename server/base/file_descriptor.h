#ifndef MNIST_VIT_SERVER_BASE_FILE_DESCRIPTOR_H_
#define MNIST_VIT_SERVER_BASE_FILE_DESCRIPTOR_H_

#include <unistd.h>

#include <utility>

namespace vit {

// Owns a file descriptor, and closes it at its end.
class FileDescriptor {
 public:
  FileDescriptor() = default;
  explicit FileDescriptor(int number) : number_(number) {}
  FileDescriptor(FileDescriptor&& other) noexcept : number_(other.Release()) {}
  FileDescriptor& operator=(FileDescriptor&& other) noexcept {
    if (this != &other) {
      Close();
      number_ = other.Release();
    }
    return *this;
  }
  ~FileDescriptor() { Close(); }

  // Negative if it owns none.
  int get() const { return number_; }
  bool valid() const { return number_ >= 0; }
  int Release() { return std::exchange(number_, -1); }

 private:
  void Close() {
    if (number_ >= 0) close(number_);
    number_ = -1;
  }

  int number_ = -1;
};

}  // namespace vit

#endif  // MNIST_VIT_SERVER_BASE_FILE_DESCRIPTOR_H_
