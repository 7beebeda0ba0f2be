#ifndef MNIST_VIT_SERVER_MODELS_RELOAD_REPORT_H_
#define MNIST_VIT_SERVER_MODELS_RELOAD_REPORT_H_

#include <string>
#include <vector>

#include "server/base/clock.h"

namespace vit {

// What one reload did, for whoever asked for it, the log and the metrics.
struct ReloadReport {
  struct Item {
    std::string name;
    std::string version;
    std::string reason;  // where there is one
  };
  std::vector<Item> loaded;         // serve from now on
  std::vector<Item> refused;        // tried now, and refused
  std::vector<Item> still_refused;  // before, and unchanged since: not tried
  std::vector<Item> unchanged;      // serve as before
  std::vector<Item> retired;        // served until now
  std::vector<Item> kept;  // serve on although they are to go: see the reason
  std::vector<std::string> skipped;  // folders that hold no version, and why
  Clock::duration duration = Clock::duration::zero();

  // Whether anything was loaded, refused or retired.
  bool changed() const {
    return !loaded.empty() || !refused.empty() || !retired.empty();
  }
};

// What changed, a line each: "model digits version 3: loaded".
std::vector<std::string> ChangeLines(const ReloadReport& report);

}  // namespace vit

#endif  // MNIST_VIT_SERVER_MODELS_RELOAD_REPORT_H_
