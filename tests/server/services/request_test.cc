#include "server/services/request.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "server/base/retry_after.h"
#include "server/rpc/status.h"

namespace vit {
namespace {

using ::testing::HasSubstr;

constexpr ImageShape kShape{.height = 28, .width = 28, .channels = 1};

TEST(RequestTest, BytesOfTheRightSizeAreViewedNotCopied) {
  const std::string bytes(784, '\x80');
  const absl::StatusOr<Image> image = ToImage(bytes, kShape);
  ASSERT_TRUE(image.ok());
  EXPECT_EQ(image->pixels.size(), 784);
  EXPECT_EQ(static_cast<const void*>(image->pixels.data()), bytes.data());
}

TEST(RequestTest, TheErrorOfAWrongSizeSaysWhatWasExpectedAndWhatCame) {
  for (const size_t size : {0, 783, 785, 1 << 20}) {
    const absl::Status status =
        ToImage(std::string(size, 'x'), kShape, 3).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(status.message(),
                HasSubstr("images[3]: expected 784 bytes (28 x 28 x 1), got " +
                          std::to_string(size)));
  }
}

TEST(RequestTest, AStatusKeepsItsCodeAndMessageOnTheWayToGrpc) {
  EXPECT_TRUE(ToGrpcStatus(absl::OkStatus()).ok());
  const grpc::Status status =
      ToGrpcStatus(absl::ResourceExhaustedError("full"));
  EXPECT_EQ(status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_EQ(status.error_message(), "full");
}

}  // namespace
}  // namespace vit
