#ifndef MNIST_VIT_TESTS_SERVER_HTTP_CLIENT_H_
#define MNIST_VIT_TESTS_SERVER_HTTP_CLIENT_H_

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <string>

namespace vit::testing {

// The whole answer of a server on this machine, status line and headers
// included, to one HTTP/1.0 request such as "GET /metrics"; empty if it does
// not answer.
inline std::string HttpAnswer(int port, const std::string& request) {
  const int fd = socket(AF_INET, SOCK_STREAM, 0);
  if (fd < 0) return "";
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<uint16_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  std::string answer;
  if (connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof(address)) ==
      0) {
    const std::string text = request + " HTTP/1.0\r\n\r\n";
    if (send(fd, text.data(), text.size(), MSG_NOSIGNAL) ==
        static_cast<ssize_t>(text.size())) {
      std::array<char, 4096> buffer;
      ssize_t count = 0;
      while ((count = recv(fd, buffer.data(), buffer.size(), 0)) > 0) {
        answer.append(buffer.data(), static_cast<size_t>(count));
      }
    }
  }
  close(fd);
  return answer;
}

}  // namespace vit::testing

#endif  // MNIST_VIT_TESTS_SERVER_HTTP_CLIENT_H_
