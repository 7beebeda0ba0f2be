#include "server/http/metrics_page.h"

#include <prometheus/metric_family.h>
#include <prometheus/text_serializer.h>
#include <pthread.h>

#include <exception>
#include <iterator>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"

namespace vit {
namespace {

// The version of the format is part of its content type.
constexpr char kContentType[] = "text/plain; version=0.0.4; charset=utf-8";

// Several scrapers and some people; not a flood.
constexpr size_t kMostWaiting = 32;

}  // namespace

MetricsPage::MetricsPage(
    std::vector<std::shared_ptr<prometheus::Collectable>> collectables,
    Clock::duration interval)
    : collectables_(std::move(collectables)),
      interval_(interval),
      thread_([this] { Loop(); }) {
  pthread_setname_np(thread_.native_handle(), "metrics");
}

MetricsPage::~MetricsPage() {
  {
    MutexLock lock(&mutex_);
    ending_ = true;
  }
  changed_.NotifyAll();
  thread_.join();
}

void MetricsPage::Answer(HttpResponder respond) {
  {
    MutexLock lock(&mutex_);
    if (waiting_.size() < kMostWaiting) {
      waiting_.push_back(std::move(respond));
      changed_.NotifyAll();
      return;
    }
  }
  respond({.status = 503,
           .body = absl::StrCat("expected at most ", kMostWaiting,
                                " requests for metrics at once\n"),
           .headers = {{"Retry-After", "1"}}});
}

void MetricsPage::Loop() {
  Clock::time_point not_before = Clock::time_point::min();
  while (true) {
    const std::vector<HttpResponder> waiting = TakeWaiting(not_before);
    if (waiting.empty()) return;
    const HttpResponse page = Collect();
    // From the end of the work, so that slow collecting leaves the CPU alone
    // in between.
    not_before = Clock::now() + interval_;
    for (const HttpResponder& respond : waiting) respond(page);
  }
}

std::vector<HttpResponder> MetricsPage::TakeWaiting(
    Clock::time_point not_before) {
  MutexLock lock(&mutex_);
  while (!ending_ && waiting_.empty()) changed_.Wait(&mutex_);
  while (!ending_ && Clock::now() < not_before) {
    changed_.WaitUntil(&mutex_, not_before);
  }
  if (ending_) return {};
  return std::exchange(waiting_, {});
}

HttpResponse MetricsPage::Collect() const {
  try {
    std::vector<prometheus::MetricFamily> families;
    for (const auto& collectable : collectables_) {
      std::vector<prometheus::MetricFamily> more = collectable->Collect();
      families.insert(families.end(), std::make_move_iterator(more.begin()),
                      std::make_move_iterator(more.end()));
    }
    return {.content_type = kContentType,
            .shared_body = std::make_shared<const std::string>(
                prometheus::TextSerializer().Serialize(families))};
  } catch (const std::exception& error) {
    return {.status = 500,
            .body = absl::StrCat("cannot collect: ", error.what(), "\n")};
  }
}

}  // namespace vit
