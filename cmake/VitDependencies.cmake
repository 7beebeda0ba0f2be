# Every library that the project is built with, in one place. Debian's Protobuf has no CMake config of its own, and
# gRPC's config wants Protobuf's targets to exist: module mode, first.
find_package(Threads REQUIRED)
find_package(Protobuf MODULE REQUIRED)
find_package(gRPC CONFIG REQUIRED)
find_package(absl CONFIG REQUIRED)
find_package(Boost 1.74 CONFIG REQUIRED) # Asio and Beast, headers only
find_package(CLI11 CONFIG REQUIRED)
find_package(nlohmann_json 3.11 CONFIG REQUIRED)
find_package(prometheus-cpp CONFIG REQUIRED)
find_package(PkgConfig REQUIRED)
pkg_check_modules(yaml-cpp REQUIRED IMPORTED_TARGET yaml-cpp)
pkg_check_modules(hwy REQUIRED IMPORTED_TARGET libhwy)
find_package(PNG REQUIRED)
find_package(ZLIB REQUIRED)
find_package(OpenSSL REQUIRED)
find_package(OpenMP REQUIRED)

# oneDNN 3.x: a distribution's own, or the one that scripts/setup puts under build/deps where the distribution's is 2.x.
list(PREPEND CMAKE_PREFIX_PATH ${CMAKE_SOURCE_DIR}/build/deps/onednn)
find_package(dnnl 3.0 CONFIG REQUIRED)

if(VIT_BUILD_TESTS)
  find_package(GTest CONFIG REQUIRED)
  pkg_check_modules(cpp-httplib REQUIRED IMPORTED_TARGET cpp-httplib) # a client for tests
endif()
if(VIT_BUILD_BENCHMARKS)
  find_package(benchmark CONFIG REQUIRED)
endif()
