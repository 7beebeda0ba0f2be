#include "server/options/options.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <sstream>
#include <string>
#include <vector>

#include "tests/server/options/parse.h"

namespace vit {
namespace {

using ::testing::AllOf;
using testing::ConfigFile;
using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::Not;
using testing::Parse;
using ::testing::StartsWith;
using testing::Variables;

using Arguments = std::vector<std::string>;

ServerOptions Options(const Arguments& args, const Variables& variables = {}) {
  const absl::StatusOr<ParsedOptions> parsed = Parse(args, variables);
  EXPECT_TRUE(parsed.ok()) << parsed.status();
  return parsed.value_or(ParsedOptions()).options;
}

std::string Error(const Arguments& args, const Variables& variables = {}) {
  const absl::Status status = Parse(args, variables).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
  return std::string(status.message());
}

// The error of a configuration file, after its name.
std::string FileError(const std::string& text) {
  const ConfigFile file(text);
  const std::string error = Error({"--config=" + file.path()});
  EXPECT_THAT(error, StartsWith(file.path()));
  return error.substr(file.path().size());
}

TEST(OptionsTest, TheDefaultsServeOnTheWellKnownPortsWithoutADelay) {
  const ServerOptions options = Options({});
  EXPECT_EQ(options.address, "0.0.0.0:50051");
  EXPECT_EQ(options.http_address, "0.0.0.0:8080");
  EXPECT_EQ(options.max_queue_delay_us, 0);
}

TEST(OptionsTest, AFlagWinsOverTheVariableThatOverTheFileThatOverTheDefault) {
  const ConfigFile file("workers: 1\nversions: 11\nmax_connections: 21\n");
  const ServerOptions options =
      Options({"--workers=3", "--config=" + file.path()},
              {{"VIT_WORKERS", "2"}, {"VIT_VERSIONS", "12"}});
  EXPECT_EQ(options.workers, 3);
  EXPECT_EQ(options.versions, 12);
  EXPECT_EQ(options.max_connections, 21);
  EXPECT_EQ(options.max_batch_size, 32);
}

TEST(OptionsTest, AFlagsValueMayFollowItAndTheLastFlagCounts) {
  EXPECT_EQ(Options({"--workers", "3"}).workers, 3);
  EXPECT_EQ(Options({"--workers=3", "--workers=4"}).workers, 4);
  EXPECT_EQ(Options({"--model=--odd=name"}).model, "--odd=name");
  EXPECT_EQ(Options({"--golden="}).golden, "");
}

TEST(OptionsTest, ASwitchNeedsNoValueAndMayBeNegated) {
  EXPECT_TRUE(Options({"--noreflection", "--reflection"}).reflection);
  EXPECT_FALSE(Options({"--noreflection"}).reflection);
  EXPECT_FALSE(Options({"--reflection=false"}).reflection);
  EXPECT_THAT(Error({"--reflection=no"}),
              "flag --reflection: expected true or false, found 'no'");
  EXPECT_THAT(Error({"--noworkers"}), HasSubstr("found '--noworkers'"));
  EXPECT_THAT(Error({"--noreflection=true"}),
              HasSubstr("found '--noreflection=true'"));
}

TEST(OptionsTest, AWordThatIsNoFlagIsNamed) {
  for (const char* word : {"serve", "-workers=2", "--", "", "-h"}) {
    EXPECT_EQ(Error({word}),
              "command line: expected --NAME=VALUE (--help lists the options), "
              "found '" +
                  std::string(word) + "'");
  }
}

TEST(OptionsTest, AFlagWithoutItsValueIsNamed) {
  EXPECT_EQ(Error({"--workers"}),
            "flag --workers: expected a value, found nothing");
  EXPECT_EQ(Error({"--model", "--workers=2"}),
            "flag --model: expected a value, found --workers=2");
}

TEST(OptionsTest, AnUnknownFlagSuggestsTheNearestName) {
  EXPECT_EQ(Error({"--wrokers=2"}),
            "command line: expected an option (--help lists them), found "
            "'--wrokers=2'; did you mean workers?");
  EXPECT_THAT(Error({"--max-images-per-call=2"}),
              HasSubstr("did you mean max_images_per_call?"));
  EXPECT_THAT(Error({"--chekc_config"}),
              HasSubstr("did you mean check_config?"));
  EXPECT_THAT(Error({"--colour=red"}), Not(HasSubstr("did you mean")));
}

TEST(OptionsTest, AWrongVariableIsAnErrorEvenWhereAFlagWins) {
  EXPECT_EQ(Error({"--workers=2"}, {{"VIT_WORKERS", "many"}}),
            "variable VIT_WORKERS: expected 0 to 1024, found 'many'");
}

TEST(OptionsTest, ControlCharactersDoNotReachTheMessage) {
  EXPECT_THAT(Error({"--workers=\n\x1b[2J"}),
              AllOf(HasSubstr("found '\\n\\033[2J'"), Not(HasSubstr("\n"))));
}

TEST(OptionsTest, AnAddressIsAHostAndAPortOrASocketsPath) {
  for (const char* good :
       {"0.0.0.0:0", "localhost:65535", "[::1]:80", "[fe80::1%eth0]:80",
        "a-b.c_d:1", "unix:/run/vit.sock", "unix:///run/vit.sock"}) {
    EXPECT_EQ(Options({std::string("--address=") + good}).address, good);
  }
  for (const std::string& bad :
       {std::string("localhost"), std::string("localhost:"), std::string(":80"),
        std::string("a:b"), std::string("a:65536"), std::string("a:-1"),
        std::string("a:+1"), std::string("::1:80"), std::string("[::1]"),
        std::string("[localhost]:80"), std::string("a b:80"),
        std::string("http://a:80"), std::string("unix:"),
        std::string("unix:relative"), "unix:/" + std::string(107, 'x')}) {
    EXPECT_THAT(Error({"--address=" + bad}),
                HasSubstr("expected host:port, [IPv6]:port or unix:/path"))
        << bad;
  }
}

TEST(OptionsTest, OnlyTheAdminAndDebugAddressesMayBeEmpty) {
  const ServerOptions options =
      Options({"--admin_address=", "--debug_address="});
  EXPECT_EQ(options.admin_address, "");
  EXPECT_EQ(options.debug_address, "");
  EXPECT_THAT(Error({"--http_address="}), HasSubstr("flag --http_address"));
}

TEST(OptionsTest, AQueueHoldsAtLeastABatch) {
  EXPECT_EQ(Options({"--max_queue_size=32"}).max_queue_size, 32);
  EXPECT_EQ(Error({"--max_queue_size=31"}),
            "flag --max_queue_size: expected at least 32, the value of "
            "max_batch_size by default, found 31");
  EXPECT_EQ(Error({"--max_queue_size=7"}, {{"VIT_MAX_BATCH_SIZE", "8"}}),
            "flag --max_queue_size: expected at least 8, the value of "
            "max_batch_size by variable VIT_MAX_BATCH_SIZE, found 7");
}

TEST(OptionsTest, ACallHoldsAtMostAQueueAndItsDefaultFollowsTheQueueDown) {
  EXPECT_EQ(Options({"--max_queue_size=100"}).max_images_per_call, 100);
  EXPECT_EQ(Options({"--max_queue_size=2000"}).max_images_per_call, 256);
  EXPECT_EQ(Options({"--max_images_per_call=1024"}).max_images_per_call, 1024);
  EXPECT_EQ(Error({"--max_images_per_call=1025"}),
            "flag --max_images_per_call: expected at most 1024, the value of "
            "max_queue_size by default, found 1025");
  EXPECT_THAT(Error({"--max_images_per_call=256", "--max_queue_size=255"}),
              HasSubstr("by flag --max_queue_size, found 256"));
}

TEST(OptionsTest, TheDefaultDeadlineIsAtMostTheLongest) {
  EXPECT_EQ(Options({"--max_deadline_ms=5"}).default_deadline_ms, 5);
  EXPECT_EQ(Options({"--max_deadline_ms=0", "--default_deadline_ms=400000"})
                .default_deadline_ms,
            400'000);
  EXPECT_THAT(Error({"--default_deadline_ms=300001"}),
              HasSubstr("expected at most 300000, the value of "
                        "max_deadline_ms by default, found 300001"));
}

TEST(OptionsTest, CertificateAndKeyComeTogether) {
  EXPECT_EQ(Error({"--tls_certificate=c"}),
            "flag --tls_certificate: expected tls_key with it, found none");
  EXPECT_EQ(Error({}, {{"VIT_TLS_KEY", "k"}}),
            "variable VIT_TLS_KEY: expected tls_certificate with it, found "
            "none");
  EXPECT_EQ(Error({"--tls_client_ca=a"}),
            "flag --tls_client_ca: expected tls_certificate with it, found "
            "none");
  EXPECT_EQ(Options({"--tls_certificate=c", "--tls_key=k", "--tls_client_ca=a"})
                .tls_client_ca,
            "a");
}

TEST(OptionsTest, HelpWinsOverEverything) {
  const std::string help = testing::Help();
  EXPECT_THAT(help, StartsWith("vit-server serves"));
  for (const Arguments& args :
       {Arguments{"--nonsense", "--help"}, Arguments{"--model", "--help"},
        Arguments{"--version", "--help"},
        Arguments{"--config=/no/such", "--help"}}) {
    const auto parsed = Parse(args, {{"VIT_WORKERS", "many"}});
    ASSERT_TRUE(parsed.ok()) << parsed.status();
    EXPECT_EQ(parsed->text, help);
  }
}

TEST(OptionsTest, HelpIsGroupedAndAtMostEightyColumnsWide) {
  const std::string help = testing::Help();
  for (const char* part :
       {"\nModels\n", "\nSecurity\n", "\nLogs\n", "--config=FILE",
        "--check_config", "--version", "\n  --max_batch_size=IMAGES\n"}) {
    EXPECT_THAT(help, HasSubstr(part));
  }
  std::istringstream lines(help);
  for (std::string line; std::getline(lines, line);) {
    EXPECT_LE(line.size(), 80) << line;
    EXPECT_THAT(line, Not(EndsWith(" ")));
  }
}

TEST(OptionsTest, VersionIsTheOneThatIsPassedIn) {
  const auto parsed = Parse({"--workers=many", "--version"});
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  EXPECT_EQ(parsed->text, "vit-server 1.2.3\n");
}

TEST(OptionsTest, CheckConfigChecksEverythingAndIsPassedOn) {
  const auto parsed = Parse({"--check_config", "--workers=2"});
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  EXPECT_TRUE(parsed->check_config);
  EXPECT_EQ(parsed->options.workers, 2);
  EXPECT_EQ(parsed->text, "");
  EXPECT_FALSE(Parse({})->check_config);
  EXPECT_THAT(Error({"--check_config", "--workers=-1"}),
              HasSubstr("flag --workers"));
}

TEST(ConfigFileTest, AVariableMayNameItAndAFlagWins) {
  const ConfigFile one("workers: 1\n");
  const ConfigFile two("workers: 2\n");
  const Variables variables = {{"VIT_CONFIG", one.path()}};
  EXPECT_EQ(Options({}, variables).workers, 1);
  EXPECT_EQ(Options({"--config", two.path()}, variables).workers, 2);
}

TEST(ConfigFileTest, CommentsQuotesAndEmptyTextAreYaml) {
  const ConfigFile file(
      "---\n# all\nmodel: 'a b.safetensors' # quoted\naddress: \"[::1]:1\"\n"
      "admin_address: \"\"\nreflection: false\ngolden: 12\n");
  const ServerOptions options = Options({"--config=" + file.path()});
  EXPECT_EQ(options.model, "a b.safetensors");
  EXPECT_EQ(options.address, "[::1]:1");
  EXPECT_EQ(options.admin_address, "");
  EXPECT_FALSE(options.reflection);
  EXPECT_EQ(options.golden, "12");
}

TEST(ConfigFileTest, AFileWithoutOptionsSetsNone) {
  for (const char* text : {"", "# nothing\n", "---\n", "{}\n"}) {
    const ConfigFile file(text);
    EXPECT_EQ(Options({"--config=" + file.path()}).workers, 0);
  }
}

TEST(ConfigFileTest, AFileThatCannotBeReadIsNamedWithWhoNamedIt) {
  const absl::Status status = Parse({"--config=/no/such.yaml"}).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(status.message(),
            "flag --config: expected a file that can be read, found "
            "'/no/such.yaml'");
  EXPECT_EQ(Parse({}, {{"VIT_CONFIG", "/"}}).status().message(),
            "variable VIT_CONFIG: expected a file that can be read, found '/'");
}

TEST(ConfigFileTest, AnEndlessFileIsRefused) {
  EXPECT_EQ(Error({"--config=/dev/zero"}),
            "/dev/zero: expected a file of at most 1048576 bytes");
}

struct Mistake {
  const char* name;
  const char* text;
  const char* error;  // after the file's name
};

class ConfigFileMistakeTest : public ::testing::TestWithParam<Mistake> {};

TEST_P(ConfigFileMistakeTest, IsRefusedWithLineKeyAndWhatIsExpected) {
  EXPECT_THAT(FileError(GetParam().text), StartsWith(GetParam().error));
}

INSTANTIATE_TEST_SUITE_P(
    Mistakes, ConfigFileMistakeTest,
    ::testing::Values(
        Mistake{"UnknownKey", "# one\nwrokers: 2\n",
                ":2 key wrokers: expected the name of an option; did you mean "
                "workers?"},
        Mistake{"KeyOfTheCommandLineOnly", "check_config: true\n",
                ":1 key check_config: expected the name of an option"},
        Mistake{"DuplicateKey", "workers: 2\nversions: 3\nworkers: 2\n",
                ":3 key workers: expected each key once, found it in line 1 "
                "too"},
        Mistake{"WrongType", "\nworkers: many\n",
                ":2 key workers: expected 0 to 1024, found 'many'"},
        Mistake{"OutOfRange", "workers: 1025\n",
                ":1 key workers: expected 0 to 1024, found '1025'"},
        Mistake{"NumberInQuotes", "workers: \"2\"\n",
                ":1 key workers: expected 0 to 1024 without quotes, found the "
                "text '2'"},
        Mistake{"SwitchThatIsNeitherTrueNorFalse", "reflection: yes\n",
                ":1 key reflection: expected true or false, found 'yes'"},
        Mistake{"NoValue", "model:\n",
                ":1 key model: expected one value, found nothing"},
        Mistake{"Null", "model: ~\n",
                ":1 key model: expected one value, found nothing"},
        Mistake{"List", "workers: 2\nmodel: [a, b]\n",
                ":2 key model: expected one value, found a list"},
        Mistake{"Map", "model:\n  name: a\n",
                ":1 key model: expected one value, found a map"},
        Mistake{"ListAsKey", "[a, b]: 1\n", ":1: expected a key, found a list"},
        Mistake{"ListOnTop", "- workers\n",
                ":1: expected lines of NAME: VALUE, found a list"},
        Mistake{"TextOnTop", "workers = 2\n",
                ":1: expected lines of NAME: VALUE, found one value"},
        Mistake{"TwoDocuments", "workers: 2\n---\nworkers: 3\n",
                ":3: expected one YAML document, found another"},
        Mistake{"CrossCheck", "tls_key: k\n",
                ":1 key tls_key: expected tls_certificate with it, found "
                "none"}),
    [](const auto& test) { return std::string(test.param.name); });

TEST(ConfigFileTest, NoYamlIsRefusedWithItsLine) {
  EXPECT_THAT(FileError("workers: 2\nmodel: [a\n"),
              StartsWith(":3: expected YAML, found an error: "));
}

TEST(ConfigFileTest, DeepNestingIsRefused) {
  EXPECT_THAT(FileError("model: " + std::string(100'000, '[')),
              HasSubstr("expected YAML, found an error"));
}

}  // namespace
}  // namespace vit
