#include "client/unanswered_images.h"

#include <algorithm>
#include <utility>

namespace vit::client {

absl::Time UnansweredImages::NextDeadline() const {
  return images_.empty() ? absl::InfiniteFuture()
                         : images_.begin()->second.deadline;
}

void UnansweredImages::Add(uint64_t id, std::span<const uint8_t> image,
                           absl::Time deadline) {
  last_deadline_ = std::max(last_deadline_, deadline);
  Image& added = images_[next_ticket_];
  added.id = id;
  added.bytes.assign(image.begin(), image.end());
  added.deadline = last_deadline_;
  waiting_.insert(next_ticket_);
  ++next_ticket_;
}

bool UnansweredImages::Take(absl::Time now,
                            v1::ClassifyStreamRequest& request) {
  if (waiting_.empty()) return false;
  const uint64_t ticket = *waiting_.begin();
  waiting_.erase(waiting_.begin());
  Image& image = images_.at(ticket);
  image.under_way = true;
  image.sent = now;
  ++image.sends;
  request.set_id(ticket);
  request.set_image(image.bytes);
  return true;
}

void UnansweredImages::NotSent(uint64_t ticket) {
  const auto found = images_.find(ticket);
  if (found != images_.end()) --found->second.sends;
}

std::optional<UnansweredImages::Image> UnansweredImages::Remove(
    uint64_t ticket) {
  const auto found = images_.find(ticket);
  if (found == images_.end()) return std::nullopt;
  Image image = std::move(found->second);
  images_.erase(found);
  waiting_.erase(ticket);
  return image;
}

std::vector<UnansweredImages::Image> UnansweredImages::RemoveExpired(
    absl::Time now) {
  std::vector<Image> expired;
  // Tickets are in the order of the deadlines.
  while (!images_.empty() && images_.begin()->second.deadline <= now) {
    expired.push_back(*Remove(images_.begin()->first));
  }
  return expired;
}

std::vector<UnansweredImages::Image> UnansweredImages::RemoveAll() {
  return RemoveExpired(absl::InfiniteFuture());
}

std::vector<UnansweredImages::Image> UnansweredImages::SendAgain(
    int max_sends) {
  std::vector<Image> lost;
  for (auto next = images_.begin(); next != images_.end();) {
    Image& image = next->second;
    if (image.under_way && image.sends >= max_sends) {
      lost.push_back(std::move(image));
      next = images_.erase(next);
      continue;
    }
    if (std::exchange(image.under_way, false)) waiting_.insert(next->first);
    ++next;
  }
  return lost;
}

}  // namespace vit::client
