#include "client/commands.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <optional>
#include <sstream>
#include <string>
#include <vector>

#include "client/png.h"
#include "nlohmann/json.hpp"
#include "tests/client/fake_service.h"
#include "tests/client/test_files.h"
#include "tests/client/unused_port.h"

namespace vit::client {
namespace {

using ::testing::AllOf;
using testing::Bytes;
using ::testing::ElementsAre;
using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::SizeIs;
using ::testing::StartsWith;
using testing::TempFolder;

class CommandsTest : public ::testing::Test {
 protected:
  int Classify(const std::vector<std::string>& files,
               std::optional<int> index = std::nullopt) {
    return RunClassify(server_.options(), {files, index}, out_, err_);
  }
  int Eval(const EvalCommand& command) {
    return RunEval(server_.options(), command, out_, err_);
  }
  int Explain(const ExplainCommand& command) {
    return RunExplain(server_.options(), command, out_, err_);
  }
  std::string out() const { return out_.str(); }
  std::string err() const { return err_.str(); }

  // Images of 4 x 4 pixels, all pixels of one the same.
  std::string Images(const Bytes& levels) const {
    Bytes pixels;
    for (const uint8_t level : levels) {
      pixels.insert(pixels.end(), 16, level);
    }
    return folder_.Write("images", testing::IdxImages(4, 4, pixels));
  }

  // An evaluation of four images, the last labelled wrongly.
  EvalCommand FourImages() const {
    EvalCommand command;
    command.images = Images({1, 2, 3, 4});
    command.labels = folder_.Write("labels", testing::IdxLabels({1, 2, 3, 5}));
    return command;
  }

  ExplainCommand OneImage() const {
    ExplainCommand command;
    command.file = Images({0, 200});
    command.index = 1;
    return command;
  }

  TempFolder folder_;
  testing::FakeServer server_;
  std::ostringstream out_;
  std::ostringstream err_;
};

TEST_F(CommandsTest, ClassifyShowsLabelProbabilitiesAndTime) {
  const std::string file = Images({1, 7});
  EXPECT_EQ(Classify({file}, 1), kExitOk);
  EXPECT_THAT(out(), StartsWith(file + ": 7 (55.00 %)\n"));
  EXPECT_THAT(out(),
              HasSubstr(" 6: 5.00 %, 7: 55.00 %, 8: 5.00 %, 9: 5.00 %\n"));
  EXPECT_THAT(out(), HasSubstr("of it the server 4.00 ms: queue 1.00 ms, "
                               "inference 2.00 ms in a batch of 8\n"));
  EXPECT_EQ(err(), "");
}

TEST_F(CommandsTest, ClassifySendsAPngInMnistForm) {
  GreyPicture picture{100, 100, Bytes(100 * 100, 255)};
  for (int y = 20; y < 80; ++y) {
    std::fill_n(picture.pixels.begin() + y * 100 + 40, 30, 0);
  }
  const std::string file = folder_.File("digit.png");
  ASSERT_TRUE(WritePng(picture, file).ok());
  EXPECT_EQ(Classify({file}), kExitOk) << err();
  ASSERT_THAT(server_.service().images(), ElementsAre(SizeIs(784)));
  // A box of 10 x 20 pixels.
  EXPECT_EQ(std::ranges::count(server_.service().images()[0], '\xff'), 200);
}

TEST_F(CommandsTest, ClassifyGoesOnAfterAFileThatCannotBeRead) {
  const std::string file = Images({6});
  EXPECT_EQ(Classify({"/no/such/file", file}), kExitFailure);
  EXPECT_THAT(out(), StartsWith(file + ": 6 (55.00 %)\n"));
  EXPECT_THAT(err(), AllOf(StartsWith("vit-client: NOT_FOUND: /no/such/file"),
                           EndsWith("\n")));
  EXPECT_EQ(std::ranges::count(err(), '\n'), 1);
}

TEST_F(CommandsTest, ClassifyGoesOnAfterACallThatFailed) {
  server_.service().FailNext(1, {grpc::StatusCode::INVALID_ARGUMENT, "size"});
  const std::string file = Images({6});
  EXPECT_EQ(Classify({file, file}), kExitFailure);
  EXPECT_THAT(out(), StartsWith(file + ": 6 (55.00 %)\n"));
  EXPECT_EQ(err(),
            "vit-client: INVALID_ARGUMENT: " + server_.address() + ": size\n");
  EXPECT_EQ(server_.service().calls(), 2);
}

TEST_F(CommandsTest, EvalReportsTheAccuracy) {
  EXPECT_EQ(Eval(FourImages()), kExitOk);
  EXPECT_THAT(out(), StartsWith("accuracy   75.00 % (3 of 4 images)\n"));
  EXPECT_THAT(out(), HasSubstr("errors     0\n"));
  EXPECT_EQ(err(), "");
}

TEST_F(CommandsTest, EvalPrintsJsonAloneAndTakesALimit) {
  EvalCommand command = FourImages();
  command.json = true;
  command.limit = 3;
  EXPECT_EQ(Eval(command), kExitOk);
  const auto json = nlohmann::json::parse(out());
  EXPECT_EQ(json["images"], 3);
  EXPECT_EQ(json["correct"], 3);
  EXPECT_EQ(server_.service().calls(), 3);
}

TEST_F(CommandsTest, EvalWritesThePredictions) {
  EvalCommand command = FourImages();
  command.predictions = folder_.File("predictions.txt");
  EXPECT_EQ(Eval(command), kExitOk);
  EXPECT_EQ(testing::ReadText(command.predictions), "1\n2\n3\n4\n");
}

TEST_F(CommandsTest, EvalShowsItsProgressOnTheErrorStream) {
  EvalCommand command = FourImages();
  command.progress = true;
  EXPECT_EQ(Eval(command), kExitOk);
  const std::string half(20, '#');
  EXPECT_THAT(err(),
              HasSubstr("\r[" + half + std::string(20, '.') + "]  50 % of 4"));
  EXPECT_THAT(err(), EndsWith("\r[" + half + half + "] 100 % of 4\n"));
  EXPECT_THAT(out(), Not(HasSubstr("#")));
}

TEST_F(CommandsTest, EvalFailsIfACallFailedButReportsTheOthers) {
  server_.service().FailNext(1, {grpc::StatusCode::INTERNAL, "broken"});
  EXPECT_EQ(Eval(FourImages()), kExitFailure);
  EXPECT_THAT(out(), HasSubstr("errors     1\n           1 INTERNAL\n"));
  EXPECT_EQ(err(), "vit-client: INTERNAL: " + server_.address() + ": broken\n");
}

TEST_F(CommandsTest, EvalFailsWithoutItsFiles) {
  EvalCommand command = FourImages();
  command.labels = "/no/such/labels";
  EXPECT_EQ(Eval(command), kExitFailure);
  EXPECT_THAT(err(), StartsWith("vit-client: NOT_FOUND: /no/such/labels"));
  command.images = "/no/such/images";
  EXPECT_EQ(Eval(command), kExitFailure);
  EXPECT_THAT(err(), HasSubstr("vit-client: NOT_FOUND: /no/such/images"));
  EXPECT_EQ(out(), "");
  EXPECT_EQ(server_.service().calls(), 0);
}

TEST_F(CommandsTest, EvalFailsIfThePredictionsCannotBeWritten) {
  EvalCommand command = FourImages();
  command.predictions = "/no/such/folder/predictions";
  EXPECT_EQ(Eval(command), kExitFailure);
  EXPECT_THAT(err(), StartsWith("vit-client: NOT_FOUND: /no/such/folder"));
  EXPECT_THAT(out(), StartsWith("accuracy"));
}

TEST_F(CommandsTest, ExplainShowsTheAttentionOfTheClassToken) {
  const ExplainCommand command = OneImage();
  EXPECT_EQ(Explain(command), kExitOk) << err();
  EXPECT_THAT(out(), StartsWith(command.file + ": 3 (75.00 %)\n"));
  EXPECT_THAT(out(), HasSubstr("what the class token attends to in it (rollout "
                               "over all layers):\n\n"));
  EXPECT_THAT(out(), HasSubstr("[CLS]                        | (0, 1) pixels "
                               "0-1, 2-3       |    25.00\n"));
  EXPECT_EQ(err(), "");
  EXPECT_THAT(server_.service().images(), ElementsAre(std::string(16, '\xc8')));
}

TEST_F(CommandsTest, ExplainShowsTheMatrixAndTokensThatWereAskedFor) {
  ExplainCommand command = OneImage();
  command.matrix = {.layer = 0, .head = 1};
  command.tokens = "3";
  command.top = 1;
  EXPECT_EQ(Explain(command), kExitOk) << err();
  EXPECT_THAT(out(), HasSubstr("(layer 0, head 1)"));
  EXPECT_THAT(out(), EndsWith("(1, 0) pixels 2-3, 0-1       | (1, 1) pixels "
                              "2-3, 2-3       |   100.00\n"
                              "(1, 0) pixels 2-3, 0-1       | 4 others       "
                              "              |     0.00\n"));
}

TEST_F(CommandsTest, ExplainShowsAllTokensOfAModelWithoutAClassToken) {
  v1::ExplainResponse response = testing::SmallExplanation();
  response.set_has_class_token(false);
  response.set_grid_height(1);
  response.set_grid_width(5);
  server_.service().ExplainWith(response);
  ExplainCommand command = OneImage();
  command.matrix.layer = 1;
  EXPECT_EQ(Explain(command), kExitOk) << err();
  EXPECT_THAT(out(), HasSubstr("what the tokens attend to in it (layer 1, mean "
                               "of its heads)"));
  EXPECT_THAT(out(), HasSubstr("\n(0, 4) pixels 0-1, 8-9       |"));
}

TEST_F(CommandsTest, ExplainWritesAPicture) {
  ExplainCommand command = OneImage();
  command.out = folder_.File("attention.png");
  EXPECT_EQ(Explain(command), kExitOk) << err();
  EXPECT_THAT(out(), EndsWith("\nwrote " + command.out + "\n"));
  const auto picture = ReadPng(command.out);
  ASSERT_TRUE(picture.ok()) << picture.status();
  EXPECT_EQ(picture->width, 4 * 16);
  EXPECT_EQ(picture->height, 4 * 16);
  // The class token attends most to the second patch and not to the first.
  EXPECT_GT(picture->at(60, 3), picture->at(3, 3));
}

TEST_F(CommandsTest, ExplainWritesAGridOfAllHeads) {
  ExplainCommand command = OneImage();
  command.out = folder_.File("attention.png");
  command.grid = true;
  EXPECT_EQ(Explain(command), kExitOk) << err();
  const auto picture = ReadPng(command.out);
  ASSERT_TRUE(picture.ok()) << picture.status();
  EXPECT_EQ(picture->width, 3 * 20 + 4);
  EXPECT_EQ(picture->height, 2 * 20 + 4);
}

TEST_F(CommandsTest, ExplainFailsForWhatTheModelDoesNotHave) {
  ExplainCommand command = OneImage();
  command.matrix.layer = 2;
  EXPECT_EQ(Explain(command), kExitFailure);
  EXPECT_EQ(err(),
            "vit-client: OUT_OF_RANGE: layer 2: the model has 2 layers, from "
            "0\n");
  EXPECT_EQ(out(), "");
}

TEST_F(CommandsTest, ExplainFailsForAnAnswerThatDoesNotFitTogether) {
  server_.service().ExplainWith({});
  EXPECT_EQ(Explain(OneImage()), kExitFailure);
  EXPECT_THAT(err(), StartsWith("vit-client: INTERNAL: the server's answer"));
  EXPECT_EQ(out(), "");
}

TEST_F(CommandsTest, ExplainFailsWithoutItsFileOrItsAnswer) {
  ExplainCommand command = OneImage();
  command.index = 2;
  EXPECT_EQ(Explain(command), kExitFailure);
  EXPECT_THAT(err(), StartsWith("vit-client: OUT_OF_RANGE: "));
  EXPECT_EQ(server_.service().calls(), 0);

  server_.service().FailNext(1, {grpc::StatusCode::INTERNAL, "broken"});
  EXPECT_EQ(Explain(OneImage()), kExitFailure);
  EXPECT_THAT(err(), EndsWith("vit-client: INTERNAL: " + server_.address() +
                              ": broken\n"));
  EXPECT_EQ(out(), "");
}

TEST_F(CommandsTest, ExplainFailsIfThePictureCannotBeWritten) {
  ExplainCommand command = OneImage();
  command.out = "/no/such/folder/a.png";
  EXPECT_EQ(Explain(command), kExitFailure);
  EXPECT_THAT(err(), StartsWith("vit-client: NOT_FOUND: /no/such/folder"));
  EXPECT_THAT(out(), Not(HasSubstr("wrote")));
}

TEST_F(CommandsTest, HealthTellsWhetherTheServerServes) {
  EXPECT_EQ(RunHealth(server_.options(), out_, err_), kExitOk);
  EXPECT_EQ(out(), "SERVING\n");
  server_.SetServing(false);
  EXPECT_EQ(RunHealth(server_.options(), out_, err_), kExitFailure);
  EXPECT_EQ(out(), "SERVING\nNOT_SERVING\n");
  EXPECT_EQ(err(), "");
}

TEST_F(CommandsTest, HealthFailsIfTheServerCannotBeReached) {
  const testing::UnusedPort port;
  ClientOptions options = server_.options();
  options.target = port.address();
  EXPECT_EQ(RunHealth(options, out_, err_), kExitFailure);
  EXPECT_EQ(out(), "");
  EXPECT_THAT(err(),
              StartsWith("vit-client: UNAVAILABLE: " + port.address() + ": "));
}

TEST_F(CommandsTest, EveryCommandFailsForOptionsOutOfRange) {
  ClientOptions options = server_.options();
  options.max_attempts = 9;
  EXPECT_EQ(RunClassify(options, {}, out_, err_), kExitFailure);
  EXPECT_EQ(RunEval(options, FourImages(), out_, err_), kExitFailure);
  EXPECT_EQ(RunExplain(options, OneImage(), out_, err_), kExitFailure);
  EXPECT_EQ(RunHealth(options, out_, err_), kExitFailure);
  const std::string line =
      "vit-client: INVALID_ARGUMENT: max_attempts is 9, expected 1 to 5\n";
  EXPECT_EQ(err(), line + line + line + line);
  EXPECT_EQ(out(), "");
}

}  // namespace
}  // namespace vit::client
