#include "server/services/service_context.h"

#include <algorithm>

namespace vit {

Clock::time_point ServiceContext::Bound(Clock::time_point deadline,
                                        Clock::time_point received) const {
  constexpr Clock::duration kNone{0};
  if (deadline == Clock::time_point::max() && default_deadline > kNone) {
    deadline = received + default_deadline;
  }
  if (max_deadline > kNone) {
    deadline = std::min(deadline, received + max_deadline);
  }
  return deadline;
}

}  // namespace vit
