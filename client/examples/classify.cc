// Classifies the first image of the MNIST test set with the client library.
// Run from the top of the source tree:
//   build/release/bin/classify-example [HOST:PORT]

#include <iostream>

#include "client/classifier_client.h"
#include "client/idx.h"

int main(int argc, char** argv) {
  const auto images =
      vit::client::ReadIdxImages("tests/data/mnist/t10k-images-idx3-ubyte.gz");
  const auto client = vit::client::ClassifierClient::Create(
      {.target = argc > 1 ? argv[1] : "localhost:50051"});
  if (!images.ok() || !client.ok()) {
    std::cerr << images.status() << '\n' << client.status() << '\n';
    return 1;
  }
  const auto answer = (*client)->Classify(images->image(0));
  if (!answer.ok()) {
    std::cerr << answer.status() << '\n';
    return 1;
  }
  std::cout << answer->label() << " (" << 100 * answer->confidence() << " %)\n";
}
