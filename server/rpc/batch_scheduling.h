#ifndef MNIST_VIT_SERVER_RPC_BATCH_SCHEDULING_H_
#define MNIST_VIT_SERVER_RPC_BATCH_SCHEDULING_H_

namespace vit {

// Chooses how the system schedules the calling thread: as SCHED_BATCH, under
// which a thread that wakes waits for its turn on the CPU, or as threads
// usually are, so that it may interrupt whoever computes there.
//
// For event loops. A worker that answers a batch wakes the loop with each
// answer. If each wake-up interrupts the worker, a batch costs twice as many
// switches as it has images. With little to answer SCHED_BATCH saves nothing,
// and makes a request wait for whatever else the machine computes.
//
// Costs nothing where nothing changes. Leaves a thread under any other policy
// alone, and does nothing where the system refuses.
void UseBatchScheduling(bool batch);

}  // namespace vit

#endif  // MNIST_VIT_SERVER_RPC_BATCH_SCHEDULING_H_
