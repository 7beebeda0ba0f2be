#include "model/side_by_side.h"

#include <cstddef>
#include <exception>
#include <system_error>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"

namespace vit {
namespace {

// An exception would end the process if it left a thread.
absl::Status RunContained(const std::function<absl::Status(int)>& task,
                          int number) {
  try {
    return task(number);
  } catch (const std::exception& exception) {
    return absl::InternalError(absl::StrCat("exception: ", exception.what()));
  } catch (...) {
    return absl::InternalError("exception of unknown type");
  }
}

}  // namespace

absl::Status RunSideBySide(int count,
                           const std::function<absl::Status(int)>& task) {
  const auto size = static_cast<size_t>(count);
  std::vector<absl::Status> results(size);
  {
    std::vector<std::jthread> threads;  // joined at the end of this block
    threads.reserve(size);
    for (size_t i = 0; i < size; ++i) {
      const auto run = [&results, &task, i] {
        results[i] = RunContained(task, static_cast<int>(i));
      };
      try {
        threads.emplace_back(run);
      } catch (const std::system_error&) {
        run();
      }
    }
  }
  for (absl::Status& result : results) {
    if (!result.ok()) return result;
  }
  return absl::OkStatus();
}

}  // namespace vit
