#ifndef MNIST_VIT_TESTS_HOSTILE_ATTACK_H_
#define MNIST_VIT_TESTS_HOSTILE_ATTACK_H_

#include <functional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "tests/hostile/socket.h"

namespace vit::hostile {

// What a hostile peer is told. Thread-safe: all of it is constant.
class Attack {
 public:
  // `over` says when the peer must go. `hold` returns when the honest peers
  // have been observed for long enough, or at `over`.
  Attack(std::string grpc_address, std::string http_address, IsOver over,
         std::function<void(const IsOver& over)> hold)
      : grpc_address_(std::move(grpc_address)),
        http_address_(std::move(http_address)),
        over_(std::move(over)),
        hold_(std::move(hold)) {}

  const std::string& grpc_address() const { return grpc_address_; }
  const std::string& http_address() const { return http_address_; }

  // Whether the peer must go: its time is up, or the server is dead or has
  // taken so much memory that the machine is in danger.
  bool Over() const { return over_(); }
  const IsOver& over() const { return over_; }

  // Keeps what the peer holds open, while the honest client and the prober do
  // their rounds.
  void Hold() const { hold_(over_); }

 private:
  const std::string grpc_address_;
  const std::string http_address_;
  const IsOver over_;
  const std::function<void(const IsOver& over)> hold_;
};

// A misbehaviour. Returns when it is done; its connections are closed then.
using Misbehaviour = void (*)(const Attack& attack);

struct NamedMisbehaviour {
  const char* peer;
  Misbehaviour act;
};

// Runs `act` on `count` threads at once, such as one a connection.
template <typename Act>
void AtOnce(int count, const Act& act) {
  std::vector<std::jthread> threads;
  for (int i = 0; i < count; ++i) threads.emplace_back(act);
}

// Every family of peers, for the mixture of all of them.
std::vector<NamedMisbehaviour> HttpMisbehaviours();
std::vector<NamedMisbehaviour> MessageMisbehaviours();
std::vector<NamedMisbehaviour> StreamMisbehaviours();
std::vector<NamedMisbehaviour> FrameMisbehaviours();
std::vector<NamedMisbehaviour> HeaderMisbehaviours();
std::vector<NamedMisbehaviour> ConnectionMisbehaviours();

}  // namespace vit::hostile

#endif  // MNIST_VIT_TESTS_HOSTILE_ATTACK_H_
