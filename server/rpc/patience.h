#ifndef MNIST_VIT_SERVER_RPC_PATIENCE_H_
#define MNIST_VIT_SERVER_RPC_PATIENCE_H_

namespace vit {

// Whether the calling thread, when it is woken, waits for its turn on the CPU
// (Linux's SCHED_BATCH) or may interrupt who computes there, as threads
// usually do.
//
// For event loops: a worker that answers a batch wakes one with each answer,
// and if each interrupts it, the batch costs twice as many switches as it has
// images. With little to answer patience saves nothing, and would have
// a request wait for whatever else the machine computes.
//
// Costs nothing if that is so already. A thread under another policy of the
// system's is left alone, and so is one for which the system refuses.
void SetPatient(bool patient);

}  // namespace vit

#endif  // MNIST_VIT_SERVER_RPC_PATIENCE_H_
