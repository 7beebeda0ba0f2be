#ifndef MNIST_VIT_CLIENT_UNANSWERED_IMAGES_H_
#define MNIST_VIT_CLIENT_UNANSWERED_IMAGES_H_

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "vit/v1/classifier.pb.h"

namespace vit::client {

// The images of a ClassifyStream that are not answered: which wait to be sent,
// and which are under way to a server. On the wire an image has a ticket, a
// number that is never used twice, so that a late answer finds nothing.
//
// Not thread-safe.
class UnansweredImages {
 public:
  struct Image {
    uint64_t id = 0;  // the caller's
    std::string bytes;
    absl::Time deadline;
    absl::Time sent;  // the last time
    int sends = 0;
    bool under_way = false;
  };

  bool empty() const { return images_.empty(); }
  bool HasWaiting() const { return !waiting_.empty(); }
  // Of all images, the earliest; InfiniteFuture if there are none.
  absl::Time NextDeadline() const;

  // The image waits. Its deadline is taken for no earlier than that of the one
  // before.
  void Add(uint64_t id, std::span<const uint8_t> image, absl::Time deadline);

  // Fills the request with the oldest image that waits, which is under way from
  // then on; false if none waits.
  bool Take(absl::Time now, v1::ClassifyStreamRequest& request);
  // The image that was taken last was not sent after all: `ticket` is its
  // request's id.
  void NotSent(uint64_t ticket);

  // Removes an image and returns it; nothing if it is not there any more.
  std::optional<Image> Remove(uint64_t ticket);
  // The same for all whose deadline has passed.
  std::vector<Image> RemoveExpired(absl::Time now);
  std::vector<Image> RemoveAll();

  // The server is lost: all that are under way wait again. Removes and returns
  // those that were sent `max_sends` times.
  std::vector<Image> SendAgain(int max_sends);

 private:
  std::map<uint64_t, Image> images_;  // by ticket
  std::set<uint64_t> waiting_;        // tickets
  uint64_t next_ticket_ = 0;
  absl::Time last_deadline_ = absl::InfinitePast();
};

}  // namespace vit::client

#endif  // MNIST_VIT_CLIENT_UNANSWERED_IMAGES_H_
