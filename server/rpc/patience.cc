#include "server/rpc/patience.h"

#include <sched.h>

namespace vit {

void SetPatient(bool patient) {
  thread_local bool is_patient = false;
  if (patient == is_patient) return;
  is_patient = patient;
  const int before = patient ? SCHED_OTHER : SCHED_BATCH;
  if (sched_getscheduler(0) != before) return;
  const sched_param parameters{};
  sched_setscheduler(0, patient ? SCHED_BATCH : SCHED_OTHER, &parameters);
}

}  // namespace vit
