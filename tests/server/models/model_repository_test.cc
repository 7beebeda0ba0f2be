#include "server/models/model_repository.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/server/models/fake_loader.h"
#include "tests/server/models/repository_folder.h"

namespace vit {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using testing::FakeLoader;
using testing::FakeLoads;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

class ModelRepositoryTest : public ::testing::Test {
 protected:
  void Open(RepositoryOptions options = {}) {
    if (options.path.empty()) options.path = folder_.path();
    auto repository = ModelRepository::Create(options, FakeLoader(loads_));
    ASSERT_TRUE(repository.ok()) << repository.status();
    repository_ = *std::move(repository);
  }

  ReloadReport Reload() {
    if (repository_ == nullptr) Open();
    absl::StatusOr<ReloadReport> report = repository_->Reload();
    EXPECT_TRUE(report.ok()) << report.status();
    return report.ok() ? *std::move(report) : ReloadReport();
  }

  // "NAME/VERSION: CONTENT" of what is picked, or the error.
  std::string Picked(const ModelRequest& request = {}, int draw = 0) {
    const auto model = repository_->Pick(request, draw);
    if (!model.ok()) return std::string(model.status().message());
    return (*model)->name() + "/" + (*model)->version() + ": " +
           (*model)->info.digest;
  }

  // "NAME/VERSION STATE" of each.
  std::vector<std::string> States() {
    std::vector<std::string> states;
    for (const ModelStatus& status : repository_->Models()) {
      states.push_back(status.name + "/" + status.version + " " +
                       ModelStateName(status.state));
    }
    return states;
  }

  const testing::RepositoryFolder folder_;
  const std::shared_ptr<FakeLoads> loads_ = std::make_shared<FakeLoads>();
  std::unique_ptr<ModelRepository> repository_;
};

// "NAME/VERSION" of each.
std::vector<std::string> Names(const std::vector<ReloadReport::Item>& items) {
  std::vector<std::string> names;
  for (const ReloadReport::Item& item : items) {
    names.push_back(item.name + "/" + item.version);
  }
  return names;
}

TEST_F(ModelRepositoryTest, BeforeTheFirstReloadNothingServes) {
  Open();
  EXPECT_EQ(Picked(), "no model is served");
}

TEST_F(ModelRepositoryTest, TheNewestVersionOfEachModelServes) {
  folder_.Put("clothes/3", "good");
  folder_.Put("digits/9", "good");
  folder_.Put("digits/10", "good");
  const ReloadReport report = Reload();
  EXPECT_THAT(Names(report.loaded), ElementsAre("clothes/3", "digits/10"));
  EXPECT_TRUE(report.changed());
  EXPECT_EQ(Picked({.name = "digits"}), "digits/10: good");
  EXPECT_EQ(Picked({.name = "clothes"}), "clothes/3: good");
}

TEST_F(ModelRepositoryTest, WhatHasNotChangedIsNotLoadedAgain) {
  folder_.Put("digits/1", "good");
  Reload();
  const auto before = *repository_->Pick({}, 0);
  const ReloadReport report = Reload();
  EXPECT_THAT(Names(report.unchanged), ElementsAre("digits/1"));
  EXPECT_FALSE(report.changed());
  EXPECT_EQ(loads_->count, 1);
  EXPECT_EQ(*repository_->Pick({}, 0), before);
}

TEST_F(ModelRepositoryTest, ANewVersionTakesOverAndTheOldOneIsRetired) {
  folder_.Put("digits/1", "good");
  Reload();
  folder_.Put("digits/2", "good");
  const ReloadReport report = Reload();
  EXPECT_THAT(Names(report.loaded), ElementsAre("digits/2"));
  EXPECT_THAT(Names(report.retired), ElementsAre("digits/1"));
  EXPECT_EQ(Picked(), "digits/2: good");
  EXPECT_THAT(Picked({.version = "1"}), HasSubstr("has no version \"1\""));
  EXPECT_THAT(States(), ElementsAre("digits/1 RETIRED", "digits/2 SERVING"));
}

TEST_F(ModelRepositoryTest, ARetiredVersionLivesAsLongAsACallHoldsIt) {
  folder_.Put("digits/1", "good");
  Reload();
  std::shared_ptr<const ServedModel> call = *repository_->Pick({}, 0);
  const std::weak_ptr<const ServedModel> old = call;
  folder_.Put("digits/2", "good");
  folder_.Remove("digits/1");
  Reload();
  EXPECT_EQ(call->version(), "1");
  EXPECT_THAT(States(), ElementsAre("digits/1 RETIRED", "digits/2 SERVING"));
  call.reset();
  EXPECT_TRUE(old.expired());
  Reload();
  EXPECT_THAT(States(), ElementsAre("digits/2 SERVING"));
}

TEST_F(ModelRepositoryTest, ARefusedVersionLeavesTheOldOneServing) {
  folder_.Put("digits/1", "good");
  Reload();
  folder_.Put("digits/2", "bad");
  const ReloadReport report = Reload();
  ASSERT_THAT(Names(report.refused), ElementsAre("digits/2"));
  EXPECT_THAT(report.refused[0].reason,
              AllOf(HasSubstr(folder_.At("digits/2")), HasSubstr("holds bad")));
  EXPECT_THAT(report.retired, IsEmpty());
  EXPECT_EQ(Picked(), "digits/1: good");
  EXPECT_THAT(States(), ElementsAre("digits/1 SERVING", "digits/2 REFUSED"));
  EXPECT_THAT(repository_->Models()[1].reason, HasSubstr("holds bad"));
}

TEST_F(ModelRepositoryTest, ARefusedVersionIsTriedAgainOnlyWhenItsFilesChange) {
  folder_.Put("digits/1", "good");
  folder_.Put("digits/2", "bad");
  Reload();
  EXPECT_EQ(loads_->count, 2);
  const ReloadReport unchanged = Reload();
  EXPECT_EQ(loads_->count, 2);
  EXPECT_FALSE(unchanged.changed());
  ASSERT_THAT(Names(unchanged.still_refused), ElementsAre("digits/2"));
  EXPECT_THAT(unchanged.still_refused[0].reason, HasSubstr("holds bad"));
  folder_.Put("digits/2", "good now");
  EXPECT_THAT(Names(Reload().loaded), ElementsAre("digits/2"));
  EXPECT_EQ(Picked(), "digits/2: good now");
}

TEST_F(ModelRepositoryTest, AtTheStartAnOlderGoodVersionStandsInForABadOne) {
  folder_.Put("digits/1", "good");
  folder_.Put("digits/2", "good");
  folder_.Put("digits/3", "bad");
  Reload();
  EXPECT_EQ(Picked(), "digits/2: good");
  EXPECT_EQ(loads_->count, 2);  // version 1 is not wanted
}

TEST_F(ModelRepositoryTest, FilesChangedInPlaceAreLoadedAnew) {
  folder_.Put("digits/1", "good");
  Reload();
  folder_.Put("digits/1", "good again");
  EXPECT_THAT(Names(Reload().loaded), ElementsAre("digits/1"));
  EXPECT_EQ(Picked(), "digits/1: good again");
}

TEST_F(ModelRepositoryTest, FilesChangedForTheWorseLeaveWhatWasLoadedServing) {
  folder_.Put("digits/1", "good");
  Reload();
  folder_.Put("digits/1", "bad");
  EXPECT_THAT(Names(Reload().refused), ElementsAre("digits/1"));
  EXPECT_THAT(Names(Reload().still_refused), ElementsAre("digits/1"));
  EXPECT_EQ(Picked(), "digits/1: good");
  EXPECT_THAT(States(), ElementsAre("digits/1 SERVING"));
  EXPECT_THAT(repository_->Models()[0].reason, HasSubstr("holds bad"));
  folder_.Put("digits/1", "good at last");
  Reload();
  EXPECT_EQ(Picked(), "digits/1: good at last");
  EXPECT_EQ(repository_->Models()[0].reason, "");
}

TEST_F(ModelRepositoryTest, RemovingTheNewestVersionRollsBack) {
  folder_.Put("digits/1", "good");
  folder_.Put("digits/2", "good");
  Reload();
  folder_.Remove("digits/2");
  const ReloadReport report = Reload();
  EXPECT_THAT(Names(report.loaded), ElementsAre("digits/1"));
  EXPECT_THAT(Names(report.retired), ElementsAre("digits/2"));
  EXPECT_EQ(Picked(), "digits/1: good");
}

TEST_F(ModelRepositoryTest, ARetiredVersionCanComeBack) {
  folder_.Put("digits/1", "good");
  Reload();
  folder_.Put("digits/2", "good");
  Reload();
  folder_.Remove("digits/2");
  EXPECT_THAT(Names(Reload().loaded), ElementsAre("digits/1"));
  EXPECT_EQ(Picked(), "digits/1: good");
}

TEST_F(ModelRepositoryTest, TheLastVersionServesOnUntilAnotherIsGood) {
  folder_.Put("digits/1", "good");
  Reload();
  folder_.Remove("digits/1");
  ReloadReport report = Reload();
  ASSERT_THAT(Names(report.kept), ElementsAre("digits/1"));
  EXPECT_THAT(report.kept[0].reason, HasSubstr("gone from disk"));
  folder_.Put("digits/2", "bad");
  Reload();
  EXPECT_EQ(Picked(), "digits/1: good");
  folder_.Put("digits/2", "good");
  report = Reload();
  EXPECT_THAT(Names(report.retired), ElementsAre("digits/1"));
  EXPECT_EQ(Picked(), "digits/2: good");
}

TEST_F(ModelRepositoryTest, AModelWhoseFolderIsGoneIsRetired) {
  folder_.Put("clothes/1", "good");
  folder_.Put("digits/1", "good");
  Reload();
  folder_.Remove("digits");
  EXPECT_THAT(Names(Reload().retired), ElementsAre("digits/1"));
  EXPECT_THAT(Picked({.name = "digits"}),
              HasSubstr("\"digits\" is not served, served are clothes (1)"));
  EXPECT_THAT(States(), ElementsAre("clothes/1 SERVING"));
}

// As a volume that is not mounted looks.
TEST_F(ModelRepositoryTest, AnEmptyRepositoryRetiresNothing) {
  folder_.Put("clothes/1", "good");
  folder_.Put("digits/1", "good");
  Reload();
  folder_.Remove("clothes");
  folder_.Remove("digits");
  const ReloadReport report = Reload();
  EXPECT_THAT(Names(report.kept), ElementsAre("clothes/1", "digits/1"));
  EXPECT_EQ(Picked({.name = "digits"}), "digits/1: good");
}

TEST_F(ModelRepositoryTest, ARepositoryThatCannotBeReadChangesNothing) {
  folder_.Put("repository/digits/1", "good");
  Open({.path = folder_.At("repository")});
  Reload();
  folder_.Remove("repository");
  EXPECT_EQ(repository_->Reload().status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(Picked(), "digits/1: good");
}

TEST_F(ModelRepositoryTest, WhatIsSkippedIsReported) {
  folder_.MakeFolder("digits/1");
  EXPECT_THAT(Reload().skipped, ElementsAre(HasSubstr("digits/1")));
}

TEST_F(ModelRepositoryTest, TheNewestVersionGetsTheCanarysShare) {
  for (const char* version : {"digits/1", "digits/2", "digits/3"}) {
    folder_.Put(version, "good");
  }
  Open({.versions = 2, .canary_percent = 25});
  Reload();
  EXPECT_THAT(States(), ElementsAre("digits/2 SERVING", "digits/3 SERVING"));
  int canaries = 0;
  for (int draw = 0; draw < 100; ++draw) {
    canaries += Picked({}, draw) == "digits/3: good" ? 1 : 0;
  }
  EXPECT_EQ(canaries, 25);
  EXPECT_EQ(Picked({.label = "stable"}), "digits/2: good");
  EXPECT_TRUE(repository_->Models()[0].is_stable);
  EXPECT_FALSE(repository_->Models()[0].is_canary);
  EXPECT_TRUE(repository_->Models()[1].is_canary);
}

TEST_F(ModelRepositoryTest, ANewCanaryMovesTheLabelsOn) {
  folder_.Put("digits/1", "good");
  folder_.Put("digits/2", "good");
  Open({.versions = 2, .canary_percent = 25});
  Reload();
  folder_.Put("digits/3", "good");
  Reload();
  EXPECT_EQ(Picked({.label = "stable"}), "digits/2: good");
  EXPECT_EQ(Picked({.label = "canary"}), "digits/3: good");
}

TEST_F(ModelRepositoryTest, AModelFileServesUnderItsOwnName) {
  folder_.Write("file", "named vit");
  folder_.Put("digits/1", "good");
  Open({.path = folder_.path(), .model_file = folder_.At("file")});
  Reload();
  EXPECT_EQ(Picked(), "vit/1.0: named vit");  // the default
  EXPECT_EQ(Picked({.name = "digits"}), "digits/1: good");
  folder_.Write("file", "named other");
  Reload();
  EXPECT_EQ(Picked(), "other/1.0: named other");
  folder_.Remove("file");
  EXPECT_EQ(repository_->Reload().status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(Picked(), "other/1.0: named other");
}

TEST_F(ModelRepositoryTest, ARefusedModelFileIsNamedByItsPath) {
  folder_.Write("file", "bad");
  Open({.path = folder_.path(), .model_file = folder_.At("file")});
  const ReloadReport report = Reload();
  ASSERT_EQ(report.refused.size(), 1);
  EXPECT_EQ(report.refused[0].name, folder_.At("file"));
}

TEST_F(ModelRepositoryTest, TheSameNameInTheFolderAndTheFileIsRefused) {
  folder_.Write("file", "named digits");
  folder_.Put("digits/1", "good");
  Open({.path = folder_.path(), .model_file = folder_.At("file")});
  const ReloadReport report = Reload();
  ASSERT_THAT(Names(report.refused), ElementsAre("digits/1"));
  EXPECT_THAT(report.refused[0].reason, AllOf(HasSubstr("\"digits\" is taken"),
                                              HasSubstr(folder_.At("file"))));
  EXPECT_EQ(Picked(), "digits/1.0: named digits");
}

TEST_F(ModelRepositoryTest, TheDefaultModelCanBeChosen) {
  folder_.Put("clothes/1", "good");
  folder_.Put("digits/1", "good");
  Open({.default_model = "digits"});
  Reload();
  EXPECT_EQ(Picked(), "digits/1: good");
}

TEST_F(ModelRepositoryTest, ALoaderThatThrowsOrGivesNothingRefuses) {
  folder_.Put("clothes/1", "throws");
  folder_.Put("digits/1", "nothing");
  const ReloadReport report = Reload();
  ASSERT_EQ(report.refused.size(), 2);
  EXPECT_THAT(report.refused[0].reason, HasSubstr("exception: no memory"));
  EXPECT_THAT(report.refused[1].reason, HasSubstr("gave no model"));
}

TEST_F(ModelRepositoryTest, AVersionIsLoadingWhileItIsLoaded) {
  folder_.Put("digits/1", "good");
  Open();
  std::vector<std::string> during;
  loads_->during = [&](const ModelOnDisk&) { during = States(); };
  Reload();
  EXPECT_THAT(during, ElementsAre("digits/1 LOADING"));
  folder_.Put("digits/1", "good again");
  Reload();
  EXPECT_THAT(during, ElementsAre("digits/1 SERVING"));
}

TEST_F(ModelRepositoryTest, AHundredReloadsLeaveNothingBehind) {
  std::weak_ptr<const ServedModel> last;
  for (int i = 1; i <= 100; ++i) {
    folder_.Put("digits/" + std::to_string(i), "good");
    folder_.Remove("digits/" + std::to_string(i - 1));
    Reload();
    EXPECT_TRUE(last.expired());
    last = *repository_->Pick({}, 0);
    EXPECT_EQ(last.lock()->version(), std::to_string(i));
  }
  Reload();
  EXPECT_THAT(States(), ElementsAre("digits/100 SERVING"));
}

TEST_F(ModelRepositoryTest, AHundredRefusedReloadsLeaveTheModelServing) {
  folder_.Put("digits/1", "good");
  Reload();
  const auto before = *repository_->Pick({}, 0);
  for (int i = 0; i < 100; ++i) {
    folder_.Put("digits/2", "bad " + std::to_string(i));
    ASSERT_THAT(Names(Reload().refused), ElementsAre("digits/2"));
    ASSERT_EQ(*repository_->Pick({}, 0), before);
  }
  EXPECT_EQ(loads_->count, 101);
}

TEST(RepositoryOptionsTest, OptionsOutOfRangeAreNamed) {
  const auto error_of = [](const RepositoryOptions& options) {
    return std::string(
        ModelRepository::Create(options, nullptr).status().message());
  };
  EXPECT_THAT(error_of({}), HasSubstr("neither a model repository nor"));
  EXPECT_THAT(error_of({.path = "x", .versions = 0}),
              HasSubstr("found 0, expected 1 or more"));
  EXPECT_THAT(error_of({.path = "x", .versions = 2, .canary_percent = 101}),
              HasSubstr("found 101 percent, expected 0 to 100"));
  EXPECT_THAT(error_of({.path = "x", .canary_percent = 5}),
              HasSubstr("but only 1 version"));
}

TEST(ReloadReportTest, WhatChangedIsALineEach) {
  ReloadReport report;
  report.loaded = {{"digits", "2", ""}};
  report.refused = {{"clothes", "3", "no such file"}};
  report.still_refused = {{"clothes", "2", "bad"}};
  report.retired = {{"digits", "1", ""}};
  EXPECT_THAT(ChangeLines(report),
              ElementsAre("model digits version 2: loaded",
                          "model clothes version 3: refused: no such file",
                          "model digits version 1: retired"));
}

}  // namespace
}  // namespace vit
