#ifndef MNIST_VIT_CLIENT_COMMANDS_H_
#define MNIST_VIT_CLIENT_COMMANDS_H_

#include <optional>
#include <ostream>
#include <string>
#include <vector>

#include "client/classifier_client.h"
#include "client/explain.h"

// What vit-client does, apart from its command line.
//
// Each command writes its result to `out` and its errors to `err`, a line each,
// and returns the program's exit code.
namespace vit::client {

inline constexpr int kExitOk = 0;
inline constexpr int kExitFailure = 1;
inline constexpr int kExitUsage = 2;

struct ClassifyCommand {
  std::vector<std::string> files;  // PNG or IDX
  std::optional<int> index;        // of the image in an IDX file
};

struct EvalCommand {
  std::string images;       // IDX
  std::string labels;       // IDX
  int concurrency = 64;     // requests in flight
  int limit = 0;            // images; 0: all
  bool json = false;        // prints JSON and no table
  std::string predictions;  // file for the predicted labels; empty: none
  bool progress = false;    // shows a bar on `err`
};

struct ExplainCommand {
  std::string file;          // PNG or IDX
  std::optional<int> index;  // of the image in an IDX file
  MatrixChoice matrix;
  std::string tokens = "cls";  // as ParseTokens reads it
  int top = 10;                // lines a token; 0: all
  std::string out;             // PNG file for the picture; empty: none
  bool grid = false;           // the picture shows every layer and head
};

// Fails if any of the files cannot be read or classified; the others are.
int RunClassify(const ClientOptions& client, const ClassifyCommand& command,
                std::ostream& out, std::ostream& err);

// Fails if any image could not be classified.
int RunEval(const ClientOptions& client, const EvalCommand& command,
            std::ostream& out, std::ostream& err);

int RunExplain(const ClientOptions& client, const ExplainCommand& command,
               std::ostream& out, std::ostream& err);

// Fails unless the server says that it is serving.
int RunHealth(const ClientOptions& client, std::ostream& out,
              std::ostream& err);

}  // namespace vit::client

#endif  // MNIST_VIT_CLIENT_COMMANDS_H_
