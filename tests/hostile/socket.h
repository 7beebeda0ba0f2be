#ifndef MNIST_VIT_TESTS_HOSTILE_SOCKET_H_
#define MNIST_VIT_TESTS_HOSTILE_SOCKET_H_

#include <sys/types.h>

#include <chrono>
#include <functional>
#include <string>
#include <string_view>
#include <utility>

namespace vit::hostile {

// Says when whoever waits must give up.
using IsOver = std::function<bool()>;

// Gives up after `patience` from now.
IsOver After(std::chrono::milliseconds patience);

// A TCP connection to a server on this machine. It never blocks longer than its
// caller allows, so a server that does not read cannot hang a test. Move-only;
// not thread-safe.
class Socket {
 public:
  // Not connected.
  Socket() = default;
  // Connects to "127.0.0.1:PORT". open() is false if that fails, or takes a
  // second.
  explicit Socket(const std::string& address);
  ~Socket() { Close(); }

  Socket(Socket&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Socket& operator=(Socket&& other) noexcept;

  // Whether it is connected, as far as this side knows.
  bool open() const { return fd_ >= 0; }
  void Close();

  // Sends all bytes. False, and perhaps some bytes sent, if the server closed
  // the connection (which closes this side too) or `over` became true.
  bool Send(std::string_view bytes, const IsOver& over);

  // Sends what goes without waiting. The number of bytes; -1 after the server
  // closed the connection, which closes this side too.
  ssize_t SendSome(std::string_view bytes);

  // Appends what has come and can be had without waiting, at most `most` bytes
  // a call. False after the end of what the server sends.
  bool Receive(std::string* bytes, size_t most);

  // Waits until there is something to read, or the end; false if `over` came
  // first.
  bool WaitForInput(const IsOver& over) const;

  // Waits a little for room to send, or for input if `input_too`.
  void WaitForRoom(bool input_too) const;

 private:
  int fd_ = -1;
};

}  // namespace vit::hostile

#endif  // MNIST_VIT_TESTS_HOSTILE_SOCKET_H_
