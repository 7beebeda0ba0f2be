#include "server/limits/control_group.h"

#include <algorithm>
#include <fstream>
#include <limits>

namespace vit {
namespace {

namespace fs = std::filesystem;
using LimitOf = std::function<double(const fs::path&)>;

// A container often sees its own group as the top of the mount. Then the path
// that /proc names does not exist below it, and the walk comes to the top all
// the same.
double LeastOfGroups(const fs::path& mount, const std::string& group,
                     const LimitOf& limit_of) {
  double least = limit_of(mount);
  fs::path directory = mount;
  for (const fs::path& part : fs::path(group).relative_path()) {
    directory /= part;
    least = std::min(least, limit_of(directory));
  }
  return least;
}

bool HasController(const std::string& controllers, const std::string& name) {
  return ("," + controllers + ",").find("," + name + ",") != std::string::npos;
}

}  // namespace

double LeastLimit(const fs::path& root, const std::string& controller,
                  const LimitOf& limit_v2, const LimitOf& limit_v1) {
  const fs::path mount = root / "sys/fs/cgroup";
  std::ifstream groups(root / "proc/self/cgroup");
  double least = std::numeric_limits<double>::infinity();
  // Lines of the form "hierarchy:controllers:/group"; v2's has no controllers.
  for (std::string line; std::getline(groups, line);) {
    const size_t first = line.find(':');
    if (first == std::string::npos) continue;
    const size_t second = line.find(':', first + 1);
    if (second == std::string::npos) continue;
    const std::string controllers = line.substr(first + 1, second - first - 1);
    const std::string group = line.substr(second + 1);
    if (controllers.empty()) {
      least = std::min(least, LeastOfGroups(mount, group, limit_v2));
    } else if (HasController(controllers, controller)) {
      least =
          std::min({least, LeastOfGroups(mount / controller, group, limit_v1),
                    LeastOfGroups(mount / controllers, group, limit_v1)});
    }
  }
  return least;
}

}  // namespace vit
