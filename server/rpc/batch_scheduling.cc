#include "server/rpc/batch_scheduling.h"

#include <sched.h>

namespace vit {

void UseBatchScheduling(bool batch) {
  thread_local bool uses_batch = false;
  if (batch == uses_batch) return;
  uses_batch = batch;
  const int before = batch ? SCHED_OTHER : SCHED_BATCH;
  if (sched_getscheduler(0) != before) return;
  const sched_param parameters{};
  sched_setscheduler(0, batch ? SCHED_BATCH : SCHED_OTHER, &parameters);
}

}  // namespace vit
