#include <gmock/gmock.h>
#include <grpcpp/create_channel.h>
#include <grpcpp/security/credentials.h>

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "tests/integration/child_process.h"
#include "tests/integration/server_process.h"
#include "tests/integration/temporary_folder.h"
#include "tests/integration/test_set.h"

// Encrypted connections, with certificates made by openssl.
namespace vit {
namespace {

using testing::ChildProcess;
using ::testing::HasSubstr;
using testing::ReadFile;
using testing::ServerCommand;
using testing::ServerProcess;
using testing::SetPatience;
using testing::TemporaryFolder;
using testing::TestSet;
using testing::WaitUntil;

class TlsTest : public ::testing::Test {
 protected:
  // Makes NAME.pem and NAME.key, signed by itself.
  void MakeCertificate(const std::string& name) const {
    ChildProcess openssl({"openssl", "req", "-x509", "-newkey", "ec",
                          "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                          "-days", "2", "-subj", "/CN=localhost", "-addext",
                          "subjectAltName=IP:127.0.0.1", "-keyout", Key(name),
                          "-out", Certificate(name)});
    ASSERT_EQ(openssl.Wait(), 0) << openssl.output();
  }

  std::string Certificate(const std::string& name) const {
    return folder_.File(name + ".pem");
  }
  std::string Key(const std::string& name) const {
    return folder_.File(name + ".key");
  }

  std::vector<std::string> Flags() const {
    return {"--tls_certificate=" + Certificate("server"),
            "--tls_key=" + Key("server")};
  }

  // Calls on a connection of its own, trusting what `root` signed.
  static grpc::Status Call(const ServerProcess& server,
                           const grpc::SslCredentialsOptions& options) {
    grpc::ChannelArguments arguments;
    arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
    arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
    const auto stub = v1::Classifier::NewStub(grpc::CreateCustomChannel(
        server.grpc_address(), grpc::SslCredentials(options), arguments));
    grpc::ClientContext context;
    SetPatience(&context);
    v1::ClassifyRequest request;
    request.set_image(TestSet::Get().image(0));
    v1::ClassifyResponse response;
    return stub->Classify(&context, request, &response);
  }

  grpc::SslCredentialsOptions Trust(const std::string& name) const {
    return {.pem_root_certs = ReadFile(Certificate(name)),
            .pem_private_key = "",
            .pem_cert_chain = ""};
  }

  TemporaryFolder folder_;
};

TEST_F(TlsTest, OnlyWhoTrustsTheCertificateCalls) {
  MakeCertificate("server");
  MakeCertificate("other");
  ServerProcess server(Flags());
  ASSERT_TRUE(server.ready());
  const grpc::Status status = Call(server, Trust("server"));
  EXPECT_TRUE(status.ok()) << status.error_message();
  EXPECT_EQ(Call(server, Trust("other")).error_code(),
            grpc::StatusCode::UNAVAILABLE);
  v1::ClassifyResponse response;
  EXPECT_FALSE(server.Classify(TestSet::Get().image(0), &response).ok())
      << "in plain text";
  EXPECT_EQ(server.Terminate(), 0);
}

TEST_F(TlsTest, WithAClientAuthorityAClientNeedsItsCertificate) {
  MakeCertificate("server");
  MakeCertificate("client");
  std::vector<std::string> flags = Flags();
  flags.push_back("--tls_client_ca=" + Certificate("client"));
  ServerProcess server(flags);
  ASSERT_TRUE(server.ready());
  EXPECT_FALSE(Call(server, Trust("server")).ok());
  grpc::SslCredentialsOptions options = Trust("server");
  options.pem_private_key = ReadFile(Key("client"));
  options.pem_cert_chain = ReadFile(Certificate("client"));
  const grpc::Status status = Call(server, options);
  EXPECT_TRUE(status.ok()) << status.error_message();
}

TEST_F(TlsTest, ARenewedCertificateIsUsedWithoutARestart) {
  MakeCertificate("server");
  ServerProcess server(Flags());
  ASSERT_TRUE(server.ready());
  EXPECT_TRUE(Call(server, Trust("server")).ok());
  MakeCertificate("renewed");
  std::filesystem::rename(Key("renewed"), Key("server"));
  std::filesystem::copy_file(Certificate("renewed"), Certificate("server"),
                             std::filesystem::copy_options::overwrite_existing);
  EXPECT_TRUE(WaitUntil([&] { return Call(server, Trust("renewed")).ok(); }));
}

TEST_F(TlsTest, AKeyOfAnotherCertificateIsNamed) {
  MakeCertificate("server");
  MakeCertificate("other");
  ChildProcess server(
      ServerCommand({"--tls_certificate=" + Certificate("server"),
                     "--tls_key=" + Key("other")}));
  EXPECT_EQ(server.Wait(), 1);
  EXPECT_THAT(server.output(), HasSubstr(Key("other") + ": expected"));
}

TEST_F(TlsTest, AFileThatCannotBeReadIsNamed) {
  MakeCertificate("server");
  const std::string none = folder_.File("none");
  for (const std::vector<std::string>& flags :
       {std::vector{"--tls_certificate=" + none, "--tls_key=" + Key("server")},
        {"--tls_certificate=" + Certificate("server"), "--tls_key=" + none},
        {"--tls_certificate=" + Certificate("server"),
         "--tls_key=" + Key("server"), "--tls_client_ca=" + none}}) {
    ChildProcess server(ServerCommand(flags));
    EXPECT_EQ(server.Wait(), 1);
    EXPECT_THAT(server.output(), HasSubstr("error: " + none + ": expected"));
  }
}

}  // namespace
}  // namespace vit
