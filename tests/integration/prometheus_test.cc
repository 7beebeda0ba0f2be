#include <gmock/gmock.h>
#include <httplib.h>

#include <cmath>
#include <string>
#include <vector>

#include "nlohmann/json.hpp"
#include "tests/integration/child_process.h"
#include "tests/integration/server_process.h"
#include "tests/integration/temporary_folder.h"
#include "tests/integration/test_set.h"
#include "tests/integration/tools.h"

namespace vit {
namespace {

using testing::ChildProcess;
using ::testing::HasSubstr;
using testing::ServerProcess;
using testing::TemporaryFolder;
using testing::TestSet;
using testing::Tool;
using testing::WaitUntil;

// A real Prometheus with the project's rules, which scrapes one server five
// times a second.
class Prometheus {
 public:
  Prometheus(const std::string& program, const std::string& target)
      : process_({program, "--config.file=" + Config(target),
                  "--storage.tsdb.path=" + folder_.File("data"),
                  "--web.listen-address=127.0.0.1:0"}) {
    constexpr char kAddress[] = "address=";
    std::string line = process_.WaitForLine("Listening on");
    const size_t found = line.find(kAddress);
    if (found != std::string::npos) {
      address_ = line.substr(found + sizeof(kAddress) - 1);
      address_.resize(address_.find_first_of(" \n\""));
    }
    if (address_.empty() ||
        process_.WaitForLine("Server is ready to receive web requests")
            .empty()) {
      ADD_FAILURE() << "Prometheus did not start:\n" << process_.output();
    }
  }

  // The value of the expression's first series; NaN if there is none.
  double Query(const std::string& expression) const {
    const nlohmann::json series =
        Get("/api/v1/query", {{"query", expression}})["data"]["result"];
    if (series.empty()) return std::nan("");
    return std::stod(series[0]["value"][1].get<std::string>());
  }

  nlohmann::json Rules() const { return Get("/api/v1/rules", {})["data"]; }

 private:
  std::string Config(const std::string& target) const {
    return folder_.Write("prometheus.yml",
                         "global:\n"
                         "  scrape_interval: 200ms\n"
                         "  evaluation_interval: 200ms\n"
                         "rule_files:\n"
                         "  - " VIT_SOURCE_DIR
                         "/deploy/prometheus/rules.yml\n"
                         "scrape_configs:\n"
                         "  - job_name: mnist-vit\n"
                         "    static_configs:\n"
                         "      - targets: [\"" +
                             target + "\"]\n");
  }

  nlohmann::json Get(const std::string& path,
                     const httplib::Params& parameters) const {
    httplib::Client client("http://" + address_);
    client.set_read_timeout(testing::kPatience);
    const httplib::Result result =
        client.Get(path, parameters, httplib::Headers());
    if (result && result->status == 200) {
      return nlohmann::json::parse(result->body);
    }
    ADD_FAILURE() << path << ": " << (result ? result->body : "no answer");
    return nlohmann::json::object();
  }

  const TemporaryFolder folder_;
  ChildProcess process_;
  std::string address_;
};

// Whether a query of it is a number more than zero.
bool IsPositive(double value) { return std::isfinite(value) && value > 0; }

class PrometheusTest : public ::testing::Test {
 protected:
  void SetUp() override { ASSERT_TRUE(server_.ready()); }

  void Classify() {
    v1::ClassifyResponse response;
    ASSERT_TRUE(server_.Classify(TestSet::Get().image(0), &response).ok());
  }

  // Promtool's judgement on /metrics: nothing if all is well.
  std::string Lint() {
    const std::string promtool = Tool("promtool");
    if (promtool.empty()) return "no promtool";
    const TemporaryFolder folder;
    const std::string metrics =
        folder.Write("metrics", server_.HttpGet("/metrics").body);
    ChildProcess lint({"/bin/sh", "-c", R"(exec "$0" check metrics <"$1")",
                       promtool, metrics});
    EXPECT_EQ(lint.Wait(), 0);
    return lint.output();
  }

  ServerProcess server_;
};

TEST_F(PrometheusTest, PrometheusComputesLatencyQuantilesFromWhatItScrapes) {
  const std::string program = Tool("prometheus");
  ASSERT_NE(program, "");
  const Prometheus prometheus(program, server_.http_address());
  // Traffic goes on until the quantile is there: a rate needs growth between
  // two scrapes.
  double p99 = std::nan("");
  EXPECT_TRUE(WaitUntil([&] {
    Classify();
    p99 = prometheus.Query(
        "histogram_quantile(0.99, sum by (le) "
        "(rate(vit_request_duration_seconds_bucket[10s])))");
    return IsPositive(p99) || HasFailure();
  }));
  EXPECT_TRUE(IsPositive(p99)) << p99;
  EXPECT_LT(p99, 10);
  EXPECT_EQ(prometheus.Query("up"), 1);
  EXPECT_GE(prometheus.Query("vit_images_total"), 1);
}

TEST_F(PrometheusTest, TheProjectsRulesFindTheServersMetrics) {
  const std::string program = Tool("prometheus");
  ASSERT_NE(program, "");
  const Prometheus prometheus(program, server_.http_address());
  for (const std::string recorded :
       {R"(vit:requests:rate5m{job="mnist-vit"})",
        R"(vit:request_duration_seconds:p50_5m{method="Classify"})",
        R"(vit:request_duration_seconds:p99_5m{method="Classify"})"}) {
    EXPECT_TRUE(WaitUntil([&] {
      Classify();
      return IsPositive(prometheus.Query(recorded)) || HasFailure();
    })) << recorded;
  }
  EXPECT_EQ(prometheus.Query(R"(vit:errors:ratio_rate5m{job="mnist-vit"})"), 0);
  EXPECT_EQ(prometheus.Query("count(ALERTS) or vector(0)"), 0);
  const nlohmann::json rules = prometheus.Rules();
  ASSERT_FALSE(rules["groups"].empty());
  for (const nlohmann::json& group : rules["groups"]) {
    for (const nlohmann::json& rule : group["rules"]) {
      EXPECT_EQ(rule["health"], "ok") << rule.dump();
    }
  }
}

TEST_F(PrometheusTest, PromtoolFindsNothingToBlameBeforeAndAfterTraffic) {
  EXPECT_EQ(Lint(), "");
  Classify();
  EXPECT_EQ(Lint(), "");
}

TEST_F(PrometheusTest, EveryMetricIsThereBeforeTheFirstCall) {
  for (const std::string method :
       {"Classify", "ClassifyBatch", "ClassifyStream", "Explain"}) {
    for (const std::string code :
         {"OK", "CANCELLED", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED",
          "RESOURCE_EXHAUSTED", "INTERNAL", "UNAVAILABLE"}) {
      std::string series = "vit_requests_total{code=\"";
      series.append(code).append("\",method=\"").append(method).append("\"}");
      EXPECT_EQ(server_.Metric(series), 0) << series;
    }
    const std::string series =
        "vit_request_duration_seconds_count{method=\"" + method + "\"}";
    EXPECT_EQ(server_.Metric(series), 0) << series;
  }
  for (const std::string series :
       {R"(vit_stage_duration_seconds_count{stage="queue"})",
        R"(vit_stage_duration_seconds_count{stage="inference"})",
        R"(vit_stage_duration_seconds_count{stage="respond"})",
        "vit_batch_size_count", "vit_queue_depth", "vit_images_total",
        R"(vit_rejected_images_total{reason="full"})",
        R"(vit_rejected_images_total{reason="late"})",
        "vit_batch_image_cost_seconds", "vit_batch_fixed_cost_seconds",
        R"(vit_dropped_images_total{reason="expired"})",
        R"(vit_dropped_images_total{reason="cancelled"})",
        R"(vit_predictions_total{label="0"})",
        R"(vit_predictions_total{label="9"})"}) {
    EXPECT_EQ(server_.Metric(series), 0) << series;
  }
  EXPECT_EQ(server_.Metric(R"(vit_model_info{model="mnist-vit",version="1"})"),
            1);
  EXPECT_THAT(server_.HttpGet("/metrics").body, HasSubstr("vit_build_info{"));
  for (const std::string series :
       {"process_cpu_seconds_total", "process_resident_memory_bytes",
        "process_virtual_memory_bytes", "process_start_time_seconds",
        "process_open_fds", "process_max_fds"}) {
    EXPECT_GT(server_.Metric(series), 0) << series;
  }
}

}  // namespace
}  // namespace vit
