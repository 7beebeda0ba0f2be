#ifndef MNIST_VIT_SERVER_HTTP_HTTP_MAILBOX_H_
#define MNIST_VIT_SERVER_HTTP_HTTP_MAILBOX_H_

#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "server/base/mutex.h"

namespace vit {

// Brings work to the server's thread, and drops it once the server has ended.
// Responders share it, so it outlives the server. Thread-safe.
class HttpMailbox {
 public:
  explicit HttpMailbox(boost::asio::io_context* io) : io_(io) {}

  // Has `work` called on the server's thread. Throws bad_alloc.
  template <typename Work>
  void Post(Work work) ABSL_LOCKS_EXCLUDED(mutex_) {
    // Asio only queues here, so nothing runs under the lock.
    MutexLock lock(&mutex_);
    if (io_ != nullptr) boost::asio::post(*io_, std::move(work));
  }

  // Before the io_context is destroyed.
  void Close() ABSL_LOCKS_EXCLUDED(mutex_) {
    MutexLock lock(&mutex_);
    io_ = nullptr;
  }

 private:
  Mutex mutex_;
  boost::asio::io_context* io_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace vit

#endif  // MNIST_VIT_SERVER_HTTP_HTTP_MAILBOX_H_
