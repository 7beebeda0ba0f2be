#ifndef MNIST_VIT_SERVER_RPC_REQUEST_ID_H_
#define MNIST_VIT_SERVER_RPC_REQUEST_ID_H_

#include <cstddef>
#include <string>
#include <string_view>

// What a request is called in the logs of several programs.
namespace vit {

inline constexpr char kRequestIdHeader[] = "x-request-id";
inline constexpr size_t kMaxRequestIdLength = 128;

// The header's value if it is 1 to kMaxRequestIdLength printable ASCII
// characters; else empty.
std::string_view ValidRequestId(std::string_view header);

// 16 random bytes as 32 hexadecimal digits.
std::string NewRequestId();

// The trace's name in a traceparent header (www.w3.org/TR/trace-context), 32
// lower-case hexadecimal digits; empty if the header is not valid.
std::string_view TraceIdOf(std::string_view traceparent);

}  // namespace vit

#endif  // MNIST_VIT_SERVER_RPC_REQUEST_ID_H_
