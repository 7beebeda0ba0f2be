#include "client/arguments.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"

namespace vit::client {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

Arguments Parsed(const std::vector<std::string>& args) {
  const absl::StatusOr<Arguments> arguments = ParseArguments(args);
  EXPECT_TRUE(arguments.ok()) << arguments.status();
  return arguments.value_or(Arguments{});
}

TEST(ArgumentsTest, ClassifyTakesFiles) {
  const Arguments arguments = Parsed({"classify", "a.png", "b.png"});
  EXPECT_EQ(arguments.help, "");
  EXPECT_EQ(arguments.command, "classify");
  EXPECT_THAT(arguments.classify.files, ElementsAre("a.png", "b.png"));
  EXPECT_EQ(arguments.classify.index, std::nullopt);
  EXPECT_EQ(Parsed({"classify", "--index=3", "a"}).classify.index, 3);
  EXPECT_EQ(Parsed({"classify", "a", "--index", "0"}).classify.index, 0);
}

TEST(ArgumentsTest, TheDefaultsOfTheConnection) {
  const ClientOptions options = Parsed({"health"}).client;
  EXPECT_EQ(options.target, "localhost:50051");
  EXPECT_EQ(options.deadline, absl::Seconds(5));
  EXPECT_EQ(options.max_attempts, 4);
}

TEST(ArgumentsTest, FlagsOfTheConnectionBelongToEveryCommand) {
  const std::vector<std::vector<std::string>> commands = {
      {"classify", "a"},
      {"eval", "--images=i", "--labels=l"},
      {"explain", "a"},
      {"health"}};
  for (std::vector<std::string> args : commands) {
    args.insert(args.end(), {"--server", "ipv4:10.0.0.1:1,10.0.0.2:2",
                             "--deadline_ms=250", "--attempts=1"});
    const Arguments arguments = Parsed(args);
    EXPECT_EQ(arguments.command, args[0]);
    EXPECT_EQ(arguments.client.target, "ipv4:10.0.0.1:1,10.0.0.2:2");
    EXPECT_EQ(arguments.client.deadline, absl::Milliseconds(250));
    EXPECT_EQ(arguments.client.max_attempts, 1);
  }
}

TEST(ArgumentsTest, AddressIsAnotherNameOfServer) {
  EXPECT_EQ(Parsed({"--address=host:7", "health"}).client.target, "host:7");
}

TEST(ArgumentsTest, EvalTakesItsFlags) {
  const EvalCommand defaults =
      Parsed({"eval", "--images", "i", "--labels", "l"}).eval;
  EXPECT_EQ(defaults.images, "i");
  EXPECT_EQ(defaults.labels, "l");
  EXPECT_EQ(defaults.concurrency, 64);
  EXPECT_EQ(defaults.limit, 0);
  EXPECT_FALSE(defaults.json);
  EXPECT_EQ(defaults.predictions, "");

  const EvalCommand eval =
      Parsed({"eval", "--images=i", "--labels=l", "--concurrency=3",
              "--limit=20", "--json", "--predictions=p"})
          .eval;
  EXPECT_EQ(eval.concurrency, 3);
  EXPECT_EQ(eval.limit, 20);
  EXPECT_TRUE(eval.json);
  EXPECT_EQ(eval.predictions, "p");
}

TEST(ArgumentsTest, ExplainTakesItsFlags) {
  const ExplainCommand defaults = Parsed({"explain", "a.png"}).explain;
  EXPECT_EQ(defaults.file, "a.png");
  EXPECT_EQ(defaults.index, std::nullopt);
  EXPECT_EQ(defaults.matrix.layer, MatrixChoice::kAll);
  EXPECT_EQ(defaults.matrix.head, MatrixChoice::kAll);
  EXPECT_EQ(defaults.tokens, "cls");
  EXPECT_EQ(defaults.top, 10);
  EXPECT_EQ(defaults.out, "");
  EXPECT_FALSE(defaults.grid);

  const ExplainCommand explain =
      Parsed({"explain", "--images=i", "--index=4", "--layer=1", "--head=2",
              "--token=all", "--top=0", "--out=o.png", "--grid"})
          .explain;
  EXPECT_EQ(explain.file, "i");
  EXPECT_EQ(explain.index, 4);
  EXPECT_EQ(explain.matrix.layer, 1);
  EXPECT_EQ(explain.matrix.head, 2);
  EXPECT_EQ(explain.tokens, "all");
  EXPECT_EQ(explain.top, 0);
  EXPECT_EQ(explain.out, "o.png");
  EXPECT_TRUE(explain.grid);
}

TEST(ArgumentsTest, HealthAndVersionTakeNothing) {
  EXPECT_EQ(Parsed({"health"}).command, "health");
  EXPECT_EQ(Parsed({"version"}).command, "version");
  EXPECT_EQ(Parsed({"--version"}).command, "version");
}

TEST(ArgumentsTest, ASwitchMayBeNegatedOrGivenAValue) {
  const auto json = [](const std::string& flag) {
    return Parsed({"eval", "--json", flag, "--images=i", "--labels=l"})
        .eval.json;
  };
  EXPECT_FALSE(json("--nojson"));
  EXPECT_FALSE(json("--json=false"));
  EXPECT_TRUE(json("--json=true"));
}

TEST(ArgumentsTest, AfterTwoDashesEverythingIsAFile) {
  EXPECT_THAT(Parsed({"classify", "--", "--index", "-"}).classify.files,
              ElementsAre("--index", "-"));
}

TEST(ArgumentsTest, TheLastOfAFlagCounts) {
  EXPECT_EQ(Parsed({"classify", "a", "--index=3", "--index=4"}).classify.index,
            4);
}

TEST(ArgumentsTest, AnEmptyValueDoesNotTakeTheNextWord) {
  const EvalCommand eval =
      Parsed({"eval", "--predictions=", "--images=i", "--labels=l"}).eval;
  EXPECT_EQ(eval.predictions, "");
  EXPECT_EQ(eval.images, "i");
}

TEST(ArgumentsTest, AFileMayHaveTheNameOfACommand) {
  EXPECT_THAT(Parsed({"classify", "eval"}).classify.files, ElementsAre("eval"));
}

struct Mistake {
  const char* name;
  std::vector<std::string> args;
  const char* message;
};

class MistakeTest : public ::testing::TestWithParam<Mistake> {};

TEST_P(MistakeTest, IsRejectedWithTheReason) {
  const absl::Status status = ParseArguments(GetParam().args).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), HasSubstr(GetParam().message));
}

INSTANTIATE_TEST_SUITE_P(
    Arguments, MistakeTest,
    ::testing::Values(
        Mistake{"NoCommand",
                {},
                "no command; the commands are classify, eval, explain, health, "
                "version"},
        Mistake{"UnknownCommand",
                {"serve"},
                "not expected: serve; the commands are classify, eval"},
        Mistake{"UnknownFlag",
                {"health", "--colour=red"},
                "not expected: --colour=red"},
        Mistake{"FlagOfAnotherLibrary",
                {"health", "--flagfile=x"},
                "not expected: --flagfile=x"},
        Mistake{"FlagOfAnotherCommand",
                {"health", "--limit=3"},
                "not expected: --limit=3"},
        Mistake{"NegatedValue",
                {"eval", "--images=i", "--labels=l", "--nolimit"},
                "not expected: --nolimit"},
        Mistake{"OctalNumber",
                {"classify", "a", "--index=010"},
                "--index: expected a whole number, found '010'"},
        Mistake{"EmptyNumber",
                {"classify", "a", "--index="},
                "--index: expected a whole number, found ''"},
        Mistake{"NumberThatIsTooLarge",
                {"classify", "a", "--index=2147483648"},
                "found '2147483648'"},
        Mistake{"EmptyFile",
                {"eval", "--images=", "--labels=l"},
                "--images: expected a file, found ''"},
        Mistake{"NoValue", {"eval", "--images"}, "--images: 1 required"},
        Mistake{"NoNumber",
                {"eval", "--limit=many"},
                "--limit: expected a whole number, found 'many'"},
        Mistake{"ClassifyWithoutAFile", {"classify"}, "FILE is required"},
        Mistake{"EvalWithoutLabels",
                {"eval", "--images=i"},
                "--labels is required"},
        Mistake{"EvalWithoutImages",
                {"eval", "--labels=l"},
                "--images is required"},
        Mistake{"EvalWithAFile",
                {"eval", "a", "--images=i", "--labels=l"},
                "not expected: a"},
        Mistake{"HealthWithAFile", {"health", "a"}, "not expected: a"},
        Mistake{"ExplainWithoutAFile",
                {"explain"},
                "explain needs one file, or --images and --index"},
        Mistake{
            "ExplainWithTwoFiles", {"explain", "a", "b"}, "not expected: b"},
        Mistake{"ExplainWithAFileAndImages",
                {"explain", "a", "--images=i"},
                "explain needs one file"},
        Mistake{"HeadWithoutLayer",
                {"explain", "a", "--head=0"},
                "--head needs --layer"},
        Mistake{"GridWithoutOut",
                {"explain", "a", "--grid"},
                "--grid needs --out"}),
    [](const auto& test) { return test.param.name; });

TEST(HelpTest, OfTheProgramExplainsAllCommandsFlagsAndExitCodes) {
  const std::string help = Parsed({"--help"}).help;
  EXPECT_EQ(Parsed({"-h"}).help, help);
  for (const char* part : {"\nclassify\n",
                           "\neval\n",
                           "\nexplain\n",
                           "\nhealth\n",
                           "\nversion\n",
                           "--server,--address ",
                           "--deadline_ms ",
                           "--attempts ",
                           "--index ",
                           "--images ",
                           "--labels ",
                           "--concurrency ",
                           "--limit ",
                           "--json",
                           "--predictions ",
                           "--layer ",
                           "--head ",
                           "--token ",
                           "--top ",
                           "--out ",
                           "--grid",
                           "requests in flight",
                           "Exit codes: 0 done, 1 failed, 2 wrong usage."}) {
    EXPECT_THAT(help, HasSubstr(part));
  }
}

TEST(HelpTest, OfACommandExplainsItsFlagsAndTheConnections) {
  const std::string help = Parsed({"classify", "--help"}).help;
  for (const char* part :
       {"Classify pictures.", "FILE", "PNG or IDX files", "--index ",
        "--server,--address ", "localhost:50051", "--deadline_ms ", "5000"}) {
    EXPECT_THAT(help, HasSubstr(part));
  }
  EXPECT_THAT(help, Not(HasSubstr("--labels")));
}

TEST(HelpTest, WinsOverMistakes) {
  EXPECT_NE(Parsed({"eval", "--colour", "--help"}).help, "");
}

}  // namespace
}  // namespace vit::client
