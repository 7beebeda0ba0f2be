#ifndef MNIST_VIT_SERVER_TELEMETRY_JSON_TEXT_H_
#define MNIST_VIT_SERVER_TELEMETRY_JSON_TEXT_H_

#include <string>
#include <string_view>

namespace vit {

// Appends the text as a JSON string, in quotes (RFC 8259). Bytes that are not
// UTF-8 become U+FFFD, because no JSON may hold them.
void AppendJsonString(std::string_view text, std::string* json);

}  // namespace vit

#endif  // MNIST_VIT_SERVER_TELEMETRY_JSON_TEXT_H_
