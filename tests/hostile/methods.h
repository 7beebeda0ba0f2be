#ifndef MNIST_VIT_TESTS_HOSTILE_METHODS_H_
#define MNIST_VIT_TESTS_HOSTILE_METHODS_H_

// The paths of the server's methods.
namespace vit::hostile {

inline constexpr char kClassify[] = "/vit.v1.Classifier/Classify";
inline constexpr char kClassifyBatch[] = "/vit.v1.Classifier/ClassifyBatch";
inline constexpr char kClassifyStream[] = "/vit.v1.Classifier/ClassifyStream";
inline constexpr char kExplain[] = "/vit.v1.Classifier/Explain";
inline constexpr char kHealthCheck[] = "/grpc.health.v1.Health/Check";
inline constexpr char kHealthWatch[] = "/grpc.health.v1.Health/Watch";
inline constexpr char kReflection[] =
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo";

}  // namespace vit::hostile

#endif  // MNIST_VIT_TESTS_HOSTILE_METHODS_H_
