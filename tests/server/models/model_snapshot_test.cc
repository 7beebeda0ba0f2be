#include "server/models/model_snapshot.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace vit {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::SizeIs;

using Models = std::vector<std::shared_ptr<const ServedModel>>;

std::shared_ptr<const ServedModel> Model(const std::string& name,
                                         const std::string& version) {
  auto model = std::make_shared<ServedModel>();
  model->info.name = name;
  model->info.version = version;
  return model;
}

Models TwoModels() {
  return {Model("clothes", "7"), Model("digits", "1"), Model("digits", "2"),
          Model("digits", "3")};
}

// "NAME/VERSION" of what is picked, or the error.
std::string Picked(const ModelSnapshot& snapshot, const ModelRequest& request,
                   int draw = 0) {
  const auto model = snapshot.Pick(request, draw);
  if (!model.ok()) return std::string(model.status().message());
  return (*model)->name() + "/" + (*model)->version();
}

TEST(ModelSnapshotTest, ACallThatNamesNothingGetsTheDefaultModelsNewest) {
  EXPECT_EQ(Picked(ModelSnapshot(TwoModels(), "digits", 0), {}), "digits/3");
}

TEST(ModelSnapshotTest, WithoutADefaultItIsTheFirstByName) {
  EXPECT_EQ(Picked(ModelSnapshot(TwoModels(), "", 0), {}), "clothes/7");
}

TEST(ModelSnapshotTest, ACallGetsTheModelAndTheVersionThatItNames) {
  const ModelSnapshot snapshot(TwoModels(), "clothes", 0);
  EXPECT_EQ(Picked(snapshot, {.name = "digits"}), "digits/3");
  EXPECT_EQ(Picked(snapshot, {.name = "digits", .version = "1"}), "digits/1");
  EXPECT_EQ(Picked(snapshot, {.version = "7"}), "clothes/7");
}

TEST(ModelSnapshotTest, WithoutAShareForTheCanaryTheNewestIsStable) {
  const ModelSnapshot snapshot(TwoModels(), "digits", 0);
  EXPECT_EQ(Picked(snapshot, {.label = "stable"}), "digits/3");
  EXPECT_EQ(Picked(snapshot, {.label = "canary"}), "digits/3");
}

TEST(ModelSnapshotTest, WithAShareForTheCanaryTheOneBeforeIsStable) {
  const ModelSnapshot snapshot(TwoModels(), "digits", 5);
  EXPECT_EQ(Picked(snapshot, {.label = "stable"}), "digits/2");
  EXPECT_EQ(Picked(snapshot, {.label = "canary"}), "digits/3");
  // A label is not a matter of chance.
  EXPECT_EQ(Picked(snapshot, {.label = "stable"}, 0), "digits/2");
  EXPECT_EQ(Picked(snapshot, {.label = "canary"}, 99), "digits/3");
}

TEST(ModelSnapshotTest, AnOnlyVersionIsStableWhateverTheShare) {
  const ModelSnapshot snapshot(TwoModels(), "clothes", 50);
  EXPECT_EQ(Picked(snapshot, {.label = "stable"}), "clothes/7");
  EXPECT_EQ(Picked(snapshot, {}, 0), "clothes/7");
  EXPECT_EQ(Picked(snapshot, {}, 99), "clothes/7");
}

TEST(ModelSnapshotTest, TheCanaryGetsItsShareOfAHundredDrawsExactly) {
  for (const int percent : {1, 30, 100}) {
    const ModelSnapshot snapshot(TwoModels(), "digits", percent);
    int canaries = 0;
    for (int draw = 0; draw < 100; ++draw) {
      canaries += Picked(snapshot, {}, draw) == "digits/3" ? 1 : 0;
    }
    EXPECT_EQ(canaries, percent);
  }
}

TEST(ModelSnapshotTest, AnUnknownModelIsToldWhatThereIs) {
  const ModelSnapshot snapshot(TwoModels(), "digits", 0);
  EXPECT_EQ(snapshot.Pick({.name = "birds"}, 0).status().code(),
            absl::StatusCode::kNotFound);
  EXPECT_EQ(Picked(snapshot, {.name = "birds"}),
            "model \"birds\" is not served, served are clothes (7), digits "
            "(3, 2, 1)");
}

TEST(ModelSnapshotTest, AnUnknownVersionIsToldWhatThereIs) {
  const ModelSnapshot snapshot(TwoModels(), "digits", 0);
  EXPECT_EQ(snapshot.Pick({.version = "4"}, 0).status().code(),
            absl::StatusCode::kNotFound);
  EXPECT_EQ(Picked(snapshot, {.version = "4"}),
            "model digits has no version \"4\", its versions are 3, 2, 1");
}

TEST(ModelSnapshotTest, AnUnknownLabelIsToldWhatThereIs) {
  const ModelSnapshot snapshot(TwoModels(), "digits", 0);
  EXPECT_EQ(snapshot.Pick({.label = "beta"}, 0).status().code(),
            absl::StatusCode::kNotFound);
  EXPECT_EQ(Picked(snapshot, {.label = "beta"}),
            "label \"beta\" is unknown, expected stable or canary");
}

TEST(ModelSnapshotTest, ADefaultThatIsNotServedIsNamed) {
  const ModelSnapshot snapshot(TwoModels(), "birds", 0);
  EXPECT_THAT(Picked(snapshot, {}),
              HasSubstr("the default model \"birds\" is not served"));
}

TEST(ModelSnapshotTest, WhereNothingServesThatIsSaid) {
  EXPECT_EQ(Picked(ModelSnapshot({}, "", 0), {}), "no model is served");
}

TEST(ModelSnapshotTest, AVersionAndALabelAtOnceAreRefused) {
  const ModelSnapshot snapshot(TwoModels(), "digits", 0);
  EXPECT_EQ(
      snapshot.Pick({.version = "1", .label = "stable"}, 0).status().code(),
      absl::StatusCode::kInvalidArgument);
}

// An error travels in HTTP/2 headers.
TEST(ModelSnapshotTest, AnErrorStaysShortWhateverIsAskedForAndServed) {
  Models models;
  for (int i = 0; i < 1000; ++i) {
    models.push_back(Model("model-" + std::to_string(i), "1"));
  }
  const ModelSnapshot snapshot(std::move(models), "", 0);
  const std::string name = "\n" + std::string(100'000, 'x');
  const std::string error = Picked(snapshot, {.name = name});
  EXPECT_THAT(error, AllOf(HasSubstr("\"\\nxxx"), HasSubstr("xxx...\""),
                           HasSubstr("and 990 more")));
  EXPECT_THAT(error, SizeIs(::testing::Lt(500)));
}

}  // namespace
}  // namespace vit
