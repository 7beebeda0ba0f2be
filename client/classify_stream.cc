#include "client/classify_stream.h"

#include <grpcpp/grpcpp.h>

#include <algorithm>
#include <cmath>
#include <iterator>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "client/connection.h"
#include "client/unanswered_images.h"
#include "vit/v1/classifier.grpc.pb.h"

namespace vit::client {
namespace {

// Whether another server may do better.
bool IsWorthAnotherServer(absl::StatusCode code) {
  switch (code) {
    case absl::StatusCode::kUnavailable:
    case absl::StatusCode::kResourceExhausted:
    case absl::StatusCode::kAborted:
    case absl::StatusCode::kCancelled:  // by the server: we do not ask for it
    case absl::StatusCode::kUnknown:
    case absl::StatusCode::kInternal:
      return true;
    default:
      return false;
  }
}

absl::StatusOr<v1::ClassifyResponse> ToResult(
    v1::ClassifyStreamResponse& answer) {
  switch (answer.outcome_case()) {
    case v1::ClassifyStreamResponse::kResponse:
      return std::move(*answer.mutable_response());
    case v1::ClassifyStreamResponse::kError:
      return absl::Status(static_cast<absl::StatusCode>(answer.error().code()),
                          answer.error().message());
    default:
      return absl::InternalError(
          "the server answered with neither a response nor an error");
  }
}

}  // namespace

// What the caller, the supervisor and gRPC's threads share.
//
// One stream at a time is open. The supervisor opens it, and fails the images
// whose deadline has passed. The caller's thread or gRPC's starts the writes,
// one at a time; gRPC's threads take the answers and the end of the stream,
// which tells the supervisor to open the next.
class ClassifyStream::Core {
 public:
  Core(const ClientOptions& options, const StreamOptions& stream_options,
       Callback done)
      : connection_(options),
        max_in_flight_(stream_options.max_in_flight),
        done_(std::move(done)),
        stub_(v1::Classifier::NewStub(connection_.channel())) {}

  void Send(uint64_t id, std::span<const uint8_t> image);
  void Finish();
  int streams();

  // The supervisor's thread: ends after Close, once no stream is left.
  void Supervise();
  void Close();

 private:
  class Stream;
  using Images = std::vector<UnansweredImages::Image>;

  const ClientOptions& options() const { return connection_.options(); }

  // Events of a stream, on gRPC's threads.
  void OnAnswer(Stream* stream);
  void OnWritten(Stream* stream, bool ok);
  void OnBroken(Stream* stream);
  void OnEnd(Stream* stream, const grpc::Status& status);
  // A stream is destroyed; after the last one the core may be, too.
  void OnGone();

  // Starts the stream's next write if there is one to start.
  void Pump(Stream* stream);
  void Open();
  void Expire(absl::Time now);
  // Ends the callbacks of images without an answer.
  void Fail(const Images& images, const absl::Status& status);

  // Keeps a stream from being destroyed while a thread that is not gRPC's uses
  // it; false if it is about to be.
  bool Pin(Stream* stream) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Unpin(Stream* stream) ABSL_LOCKS_EXCLUDED(mutex_);

  absl::Time NextWake() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  bool ShouldOpen(absl::Time now) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    return stream_ == nullptr && images_.HasWaiting() && now >= open_at_;
  }
  absl::Duration Backoff() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  bool HasRoom() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    return in_flight_ < max_in_flight_;
  }
  bool IsIdle() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    return in_flight_ == 0;
  }

  Connection connection_;
  const int max_in_flight_;
  const Callback done_;
  const std::unique_ptr<v1::Classifier::Stub> stub_;

  absl::Mutex mutex_;
  UnansweredImages images_ ABSL_GUARDED_BY(mutex_);
  // Those whose callback has not returned.
  int in_flight_ ABSL_GUARDED_BY(mutex_) = 0;
  // The one that is open, or null. It belongs to itself.
  Stream* stream_ ABSL_GUARDED_BY(mutex_) = nullptr;
  int streams_ ABSL_GUARDED_BY(mutex_) = 0;  // in all
  // Of those, the ones that are not yet destroyed.
  int existing_streams_ ABSL_GUARDED_BY(mutex_) = 0;
  // Streams in a row that ended without an answer.
  int failures_ ABSL_GUARDED_BY(mutex_) = 0;
  absl::Time open_at_ ABSL_GUARDED_BY(mutex_) = absl::InfinitePast();
  std::minstd_rand random_ ABSL_GUARDED_BY(mutex_){std::random_device{}()};
  // The supervisor sleeps until then, or until it is called.
  absl::Time wake_at_ ABSL_GUARDED_BY(mutex_) = absl::InfiniteFuture();
  bool called_ ABSL_GUARDED_BY(mutex_) = false;
  bool closing_ ABSL_GUARDED_BY(mutex_) = false;
  absl::Time cut_off_at_ ABSL_GUARDED_BY(mutex_) = absl::InfiniteFuture();
};

// One call of ClassifyStream. Destroys itself when gRPC is done with it. A read
// is always under way, so a lost server is noticed.
class ClassifyStream::Core::Stream final
    : public grpc::ClientBidiReactor<v1::ClassifyStreamRequest,
                                     v1::ClassifyStreamResponse> {
 public:
  explicit Stream(Core* core) : core_(core) {
    waits = core_->connection_.PrepareWithoutDeadline(context);
  }

  // Between them writes may be started already.
  void Bind() {
    core_->stub_->async()->ClassifyStream(&context, this);
    AddHold();
  }
  void Begin() {
    StartRead(&response);
    StartCall();
  }

  void OnReadDone(bool ok) override {
    if (!ok) return core_->OnBroken(this);
    core_->OnAnswer(this);
    StartRead(&response);
  }
  void OnWriteDone(bool ok) override { core_->OnWritten(this, ok); }
  void OnDone(const grpc::Status& status) override {
    Core* const core = core_;
    core->OnEnd(this, status);
    // The context holds the channel: gRPC 1.51 joins its threads when the last
    // channel goes, so that must not be on one of them.
    delete this;
    core->OnGone();
  }

  grpc::ClientContext context;
  v1::ClassifyStreamRequest request;
  v1::ClassifyStreamResponse response;
  bool waits = false;  // until a server can be reached

  // The rest is guarded by the core's mutex.
  absl::Time last_answer = absl::InfinitePast();
  bool answered = false;
  bool writing = false;
  // Nothing more is to be sent; the server answers what it has and ends.
  bool leaving = false;
  bool half_closed = false;
  bool broken = false;
  int pins = 0;
  bool held = true;  // gRPC waits for RemoveHold
  absl::Status cancelled_because;

 private:
  Core* const core_;
};

void ClassifyStream::Core::Send(uint64_t id, std::span<const uint8_t> image) {
  Stream* stream = nullptr;
  {
    const absl::MutexLock lock(&mutex_);
    mutex_.Await(absl::Condition(this, &Core::HasRoom));
    ++in_flight_;
    const absl::Time deadline = absl::Now() + options().deadline;
    images_.Add(id, image, deadline);
    if (stream_ != nullptr && Pin(stream_)) stream = stream_;
    called_ = called_ || stream_ == nullptr || deadline < wake_at_;
  }
  if (stream == nullptr) return;
  Pump(stream);
  Unpin(stream);
}

void ClassifyStream::Core::Finish() {
  const absl::MutexLock lock(&mutex_);
  mutex_.Await(absl::Condition(this, &Core::IsIdle));
}

int ClassifyStream::Core::streams() {
  const absl::MutexLock lock(&mutex_);
  return streams_;
}

void ClassifyStream::Core::Close() {
  const absl::MutexLock lock(&mutex_);
  closing_ = true;
  cut_off_at_ = absl::Now() + options().deadline;
  called_ = true;
}

void ClassifyStream::Core::Supervise() {
  while (true) {
    Stream* leave = nullptr;
    bool open = false;
    {
      const absl::MutexLock lock(&mutex_);
      wake_at_ = NextWake();
      mutex_.AwaitWithDeadline(absl::Condition(&called_), wake_at_);
      called_ = false;
      if (closing_ && existing_streams_ == 0 && images_.empty()) return;
      open = ShouldOpen(absl::Now());
      if (closing_ && stream_ != nullptr && Pin(stream_)) {
        leave = stream_;
        leave->leaving = true;
      }
    }
    if (leave != nullptr) {
      Pump(leave);
      Unpin(leave);
    }
    if (open) Open();
    Expire(absl::Now());
  }
}

absl::Time ClassifyStream::Core::NextWake() const {
  absl::Time wake = std::min(images_.NextDeadline(), cut_off_at_);
  if (stream_ == nullptr && images_.HasWaiting()) {
    wake = std::min(wake, open_at_);
  }
  return wake;
}

absl::Duration ClassifyStream::Core::Backoff() {
  if (failures_ == 0) return absl::ZeroDuration();
  const absl::Duration most =
      std::min(options().initial_backoff *
                   std::pow(options().backoff_multiplier, failures_ - 1),
               options().max_backoff);
  // Clients that lost the same server do not all come at once.
  return most * std::uniform_real_distribution<>(0.5, 1)(random_);
}

void ClassifyStream::Core::Open() {
  // Destroys itself in OnDone.
  auto* const stream = new Stream(this);
  stream->Bind();
  {
    const absl::MutexLock lock(&mutex_);
    stream_ = stream;
    ++streams_;
    ++existing_streams_;
    ++stream->pins;
  }
  stream->Begin();
  Pump(stream);
  Unpin(stream);
}

void ClassifyStream::Core::Pump(Stream* stream) {
  bool half_close = false;
  {
    const absl::MutexLock lock(&mutex_);
    if (stream->writing || stream->broken || stream->half_closed) return;
    half_close = stream->leaving;
    if (!half_close && !images_.Take(absl::Now(), stream->request)) return;
    stream->half_closed = half_close;
    stream->writing = true;
  }
  if (half_close) {
    stream->StartWritesDone();
  } else {
    stream->StartWrite(&stream->request);
  }
}

bool ClassifyStream::Core::Pin(Stream* stream) {
  if (!stream->held) return false;
  ++stream->pins;
  return true;
}

void ClassifyStream::Core::Unpin(Stream* stream) {
  {
    const absl::MutexLock lock(&mutex_);
    if (--stream->pins > 0 || !stream->broken || !stream->held) return;
    stream->held = false;
  }
  stream->RemoveHold();
}

void ClassifyStream::Core::OnBroken(Stream* stream) {
  {
    const absl::MutexLock lock(&mutex_);
    stream->broken = true;
    ++stream->pins;
  }
  Unpin(stream);
}

void ClassifyStream::Core::OnWritten(Stream* stream, bool ok) {
  {
    const absl::MutexLock lock(&mutex_);
    stream->writing = false;
    if (!ok) images_.NotSent(stream->request.id());
  }
  if (ok) Pump(stream);
}

void ClassifyStream::Core::OnAnswer(Stream* stream) {
  connection_.OnAnswer();
  const bool refused = stream->response.error().code() ==
                       static_cast<int>(absl::StatusCode::kUnavailable);
  std::optional<UnansweredImages::Image> image;
  {
    const absl::MutexLock lock(&mutex_);
    stream->last_answer = absl::Now();
    if (refused) {
      // The server is about to go. What it does not answer is sent to the next.
      stream->leaving = true;
    } else {
      stream->answered = true;
      image = images_.Remove(stream->response.id());
    }
  }
  if (refused) return Pump(stream);
  if (!image.has_value()) return;  // its deadline had passed
  done_(image->id, ToResult(stream->response));
  const absl::MutexLock lock(&mutex_);
  --in_flight_;
}

void ClassifyStream::Core::OnEnd(Stream* stream, const grpc::Status& status) {
  absl::Status end = connection_.End(status);
  if (end.ok()) {
    end = absl::UnavailableError(
        absl::StrCat(options().target, ": the server ended the stream"));
  }
  Images lost;
  {
    const absl::MutexLock lock(&mutex_);
    stream_ = nullptr;
    called_ = true;
    if (!stream->cancelled_because.ok()) end = stream->cancelled_because;
    lost = images_.SendAgain(options().max_attempts);
    failures_ = stream->answered || images_.empty() ? 0 : failures_ + 1;
    const bool hopeless =
        !IsWorthAnotherServer(end.code()) ||
        (failures_ >= options().max_attempts && !stream->waits);
    if (hopeless) {
      Images rest = images_.RemoveAll();
      std::move(rest.begin(), rest.end(), std::back_inserter(lost));
      failures_ = 0;
    }
    open_at_ = absl::Now() + Backoff();
  }
  Fail(lost, end);
}

void ClassifyStream::Core::OnGone() {
  const absl::MutexLock lock(&mutex_);
  --existing_streams_;
  called_ = true;
}

void ClassifyStream::Core::Expire(absl::Time now) {
  Images expired;
  Stream* stuck = nullptr;
  absl::Status reason;
  {
    const absl::MutexLock lock(&mutex_);
    expired = images_.RemoveExpired(now);
    if (!expired.empty()) reason = connection_.EndAtDeadline();
    bool leave = now >= cut_off_at_ || absl::IsUnavailable(reason);
    for (const UnansweredImages::Image& image : expired) {
      leave = leave || (stream_ != nullptr && image.under_way &&
                        stream_->last_answer < image.sent);
    }
    if (now >= cut_off_at_) cut_off_at_ = absl::InfiniteFuture();
    if (leave && stream_ != nullptr && Pin(stream_)) {
      stuck = stream_;
      stuck->cancelled_because =
          reason.ok() ? absl::UnavailableError("closed") : reason;
    }
  }
  if (stuck != nullptr) {
    stuck->context.TryCancel();
    Unpin(stuck);
  }
  Fail(expired, reason);
}

void ClassifyStream::Core::Fail(const Images& images,
                                const absl::Status& status) {
  for (const UnansweredImages::Image& image : images) done_(image.id, status);
  const absl::MutexLock lock(&mutex_);
  in_flight_ -= static_cast<int>(images.size());
}

absl::StatusOr<std::unique_ptr<ClassifyStream>> ClassifyStream::Create(
    const ClientOptions& options, const StreamOptions& stream_options,
    Callback done) {
  if (absl::Status status = Validate(options); !status.ok()) return status;
  if (stream_options.max_in_flight < 1) {
    return absl::InvalidArgumentError(absl::StrCat("max_in_flight is ",
                                                   stream_options.max_in_flight,
                                                   ", expected at least 1"));
  }
  auto core = std::make_unique<Core>(options, stream_options, std::move(done));
  // The constructor is private, so not make_unique.
  return std::unique_ptr<ClassifyStream>(new ClassifyStream(std::move(core)));
}

ClassifyStream::ClassifyStream(std::unique_ptr<Core> core)
    : core_(std::move(core)), supervisor_([this] { core_->Supervise(); }) {}

ClassifyStream::~ClassifyStream() {
  Finish();
  core_->Close();
  supervisor_.join();
}

void ClassifyStream::Send(uint64_t id, std::span<const uint8_t> image) {
  core_->Send(id, image);
}

void ClassifyStream::Finish() { core_->Finish(); }

int ClassifyStream::streams() const { return core_->streams(); }

}  // namespace vit::client
