#include "server/options/options.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>

#include <optional>
#include <string>
#include <vector>

#include "absl/flags/reflection.h"

namespace vit {
namespace {

using ::testing::HasSubstr;

// Sets an environment variable for as long as it lives.
class ScopedVariable {
 public:
  ScopedVariable(const char* name, const char* value) : name_(name) {
    setenv(name, value, 1);
  }
  ~ScopedVariable() { unsetenv(name_); }

 private:
  const char* name_;
};

absl::StatusOr<ServerOptions> Parse(std::vector<std::string> arguments) {
  const absl::FlagSaver saver;
  arguments.insert(arguments.begin(), "vit-server");
  std::vector<char*> pointers;
  for (std::string& argument : arguments) pointers.push_back(argument.data());
  return ParseOptions(static_cast<int>(pointers.size()), pointers.data());
}

TEST(OptionsTest, TheDefaultsServeOnTheWellKnownPortsWithoutADelay) {
  const absl::StatusOr<ServerOptions> options = Parse({});
  ASSERT_TRUE(options.ok()) << options.status();
  EXPECT_EQ(options->address, "0.0.0.0:50051");
  EXPECT_EQ(options->http_address, "0.0.0.0:8080");
  EXPECT_EQ(options->workers, 0);
  EXPECT_EQ(options->max_queue_delay_us, 0);
}

TEST(OptionsTest, AFlagIsRead) {
  const absl::StatusOr<ServerOptions> options =
      Parse({"--max_batch_size=8", "--model=m.safetensors"});
  ASSERT_TRUE(options.ok()) << options.status();
  EXPECT_EQ(options->max_batch_size, 8);
  EXPECT_EQ(options->model, "m.safetensors");
}

TEST(OptionsTest, TheEnvironmentIsRead) {
  const ScopedVariable workers("VIT_WORKERS", "3");
  const ScopedVariable address("VIT_HTTP_ADDRESS", "127.0.0.1:0");
  const absl::StatusOr<ServerOptions> options = Parse({});
  ASSERT_TRUE(options.ok()) << options.status();
  EXPECT_EQ(options->workers, 3);
  EXPECT_EQ(options->http_address, "127.0.0.1:0");
}

TEST(OptionsTest, AFlagWinsOverTheEnvironment) {
  const ScopedVariable workers("VIT_WORKERS", "3");
  const absl::StatusOr<ServerOptions> options = Parse({"--workers=2"});
  ASSERT_TRUE(options.ok()) << options.status();
  EXPECT_EQ(options->workers, 2);
}

TEST(OptionsTest, AVariableThatIsNoNumberIsNamed) {
  const ScopedVariable workers("VIT_WORKERS", "many");
  const absl::Status status = Parse({}).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(status.message(), HasSubstr("VIT_WORKERS: 'many'"));
}

TEST(OptionsTest, AValueOutOfRangeIsNamedWithWhatIsExpected) {
  const absl::Status status = Parse({"--max_batch_size=0"}).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(status.message(), HasSubstr("--max_batch_size"));
  EXPECT_THAT(status.message(), HasSubstr("expected 1 to 1024, found 0"));
}

TEST(OptionsTest, AQueueSmallerThanABatchIsRejected) {
  EXPECT_EQ(Parse({"--max_batch_size=8", "--max_queue_size=7"}).status().code(),
            absl::StatusCode::kInvalidArgument);
}

TEST(OptionsTest, ANegativeNumberOfCallsPerConnectionIsRejected) {
  EXPECT_THAT(Parse({"--max_calls_per_connection=-1"}).status().message(),
              HasSubstr("--max_calls_per_connection"));
}

TEST(OptionsTest, AnAddressWithoutAPortIsRejected) {
  for (const char* bad : {"localhost", "localhost:", ":80", "a:b", "a:70000"}) {
    const absl::Status status =
        Parse({std::string("--address=") + bad}).status();
    EXPECT_THAT(status.message(), HasSubstr("expected host:port")) << bad;
  }
  EXPECT_TRUE(Parse({"--address=[::1]:0"}).ok());
}

TEST(OptionsTest, AWordThatIsNoFlagIsRejected) {
  EXPECT_THAT(Parse({"serve"}).status().message(), HasSubstr("'serve'"));
}

}  // namespace
}  // namespace vit
