#ifndef MNIST_VIT_SERVER_MODELS_REPOSITORY_SCAN_H_
#define MNIST_VIT_SERVER_MODELS_REPOSITORY_SCAN_H_

#include <cstdint>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace vit {

// One version of a model as it lies on disk.
struct ModelOnDisk {
  std::string name;     // the folder's; empty: the one in the weights file
  int64_t version = 0;  // the folder's; 0: the one in the weights file
  std::string weights;  // path of the weights file
  std::string golden;   // path of its golden answers, perhaps of no file
  std::string labels;   // path of the labels; empty if there is no such file
  // Changes when one of the three files changes: each one's time of change,
  // size and inode.
  std::string fingerprint;
};

struct RepositoryScan {
  std::vector<ModelOnDisk> models;  // complete versions, by name and version
  // All models' folders, also those that hold no complete version.
  std::set<std::string> names;
  // What was passed over, a line each: "PATH: found ..., expected ...".
  std::vector<std::string> skipped;
};

// Whether a model may have this name: letters, digits, '_', '-' and '.', but no
// '.' at its beginning and no two in a row.
bool IsModelName(std::string_view name);

// Looks for models in a folder of the layout that Triton and TensorFlow Serving
// use:
//
//   PATH/NAME/VERSION/model.safetensors         the weights
//                     model.golden.safetensors  golden answers
//                     labels.txt                optional: see ReadLabels
//
// VERSION is a whole number from 1, without leading zeros. Names that begin
// with '.' are passed over in silence, because Kubernetes keeps the folders
// that its links point to under such names; links are followed. A VERSION
// without model.safetensors is skipped and reported, because it may be about to
// be copied. Plain files in PATH and PATH/NAME are left alone.
//
// Reads names and times only, no file's content. NotFound or InvalidArgument if
// PATH is no folder, Unavailable if a folder cannot be read, so that whoever
// asks never takes an unreadable model for one that was removed. Errors name
// the path and what was expected.
absl::StatusOr<RepositoryScan> ScanRepository(const std::string& path);

// A single weights file, with the path of its golden answers, as a model whose
// name and version are those in the file. Errors as above.
absl::StatusOr<ModelOnDisk> FindModelFile(const std::string& weights,
                                          const std::string& golden);

}  // namespace vit

#endif  // MNIST_VIT_SERVER_MODELS_REPOSITORY_SCAN_H_
