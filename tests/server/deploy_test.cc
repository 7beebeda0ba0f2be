// What the manifests in deploy/ promise must fit the server's defaults.

#include <gtest/gtest.h>

#include <fstream>
#include <regex>
#include <sstream>
#include <string>

#include "server/options/options.h"

namespace vit {
namespace {

// The number after a key in a manifest.
int Number(const std::string& path, const std::string& key) {
  std::ifstream file(std::string(VIT_SOURCE_DIR) + "/deploy/" + path);
  std::stringstream text;
  text << file.rdbuf();
  const std::string content = text.str();
  std::smatch found;
  if (!std::regex_search(content, found, std::regex(key + ": *([0-9]+)"))) {
    ADD_FAILURE() << path << " has no " << key;
    return 0;
  }
  return std::stoi(found[1]);
}

TEST(DeployTest, TheServerEndsWithinTheGracePeriodsOfTheManifests) {
  const ServerOptions options;
  // The refusals at the end last a second at most, and gRPC's own end less.
  constexpr int kRest = 3;
  const int longest =
      options.lame_duck_seconds + options.drain_timeout_seconds + kRest;
  EXPECT_LT(longest, Number("kubernetes/mnist-vit.yaml",
                            "terminationGracePeriodSeconds"));
  EXPECT_LT(longest, Number("compose.yaml", "stop_grace_period"));
}

TEST(DeployTest, AnswersThatNobodyReadsAreCutOffBeforeTheDrainEnds) {
  const ServerOptions options;
  EXPECT_LT(options.write_timeout_seconds, options.drain_timeout_seconds);
}

}  // namespace
}  // namespace vit
