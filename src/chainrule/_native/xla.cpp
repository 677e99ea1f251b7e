// The kernels as XLA calls them: handlers for JAX's foreign function interface (FFI).
//
// XLA calls a handler on a thread of its own, without Python, with one argument: a frame that points at the operands and
// at the results' memory, where the kernel reads and writes them. The layout of a frame is a stable C interface of XLA's:
// within a major version structs only grow at their ends, and each begins with its own size. The few that are needed are
// declared here by hand, so that Chainrule is built without jaxlib and its headers. XLA compares versions when a handler
// is registered; sizes are compared in every call, and a stranger gets an error.
//
// XLA's threads flush subnormal numbers to zero. The kernels do not (mode.hpp), and nothing here computes with
// floating-point numbers by itself.
#include <nanobind/nanobind.h>

#include <algorithm>
#include <atomic>
#include <iterator>
#include <limits>
#include <memory>
#include <mutex>
#include <new>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "errors.hpp"
#include "mode.hpp"
#include "output_layer.hpp"

namespace nb = nanobind;

namespace {

// ---- XLA's interface ----

constexpr int major_version = 0, asks_for_version = 1, internal_error = 13;

struct Version {
  std::size_t size;
  void* more;
  int major, minor;
};

struct Metadata {
  std::size_t size;
  Version version;
  std::uint32_t traits;
};

struct Extension {
  std::size_t size;
  int kind;
  Extension* next;
  Metadata* metadata;  // of the kind that asks for a handler's version
};

struct ErrorArguments {
  std::size_t size;
  void* more;
  const char* message;
  int code;
};

struct Api {
  std::size_t size;
  void* more;
  Version version;
  void* internal;
  void* (*make_error)(ErrorArguments*);
};

enum class Dtype : int { int32 = 4, int64 = 5, float16 = 10, float32 = 11, float64 = 12, bfloat16 = 16 };

struct Buffer {
  std::size_t size;
  void* more;
  Dtype dtype;
  void* data;
  std::int64_t rank;
  const std::int64_t* shape;
};

struct Buffers {
  std::size_t size;
  void* more;
  std::int64_t count;
  const int* kinds;
  const Buffer* const* each;
};

struct Name {
  const char* text;
  std::size_t length;
};

struct Scalar {
  Dtype dtype;
  const void* value;
};

struct Attributes {
  std::size_t size;
  void* more;
  std::int64_t count;
  const int* kinds;
  const Name* const* names;
  const void* const* each;
};

constexpr int is_scalar = 3;

struct Frame {
  std::size_t size;
  Extension* extension;
  const Api* api;
  void* context;
  int stage;
  Buffers operands, results;
  Attributes attributes;
};

void require(bool condition, const char* what) {
  if (!condition) throw std::invalid_argument(what);
}

const Buffer* const* buffers(const Buffers& all, std::int64_t count) {
  require(all.size == sizeof(Buffers), "XLA's FFI has another layout of its buffers than Chainrule knows");
  require(all.count == count, "XLA's FFI gives another number of buffers than was asked for");
  for (std::int64_t i = 0; i < count; ++i)
    require(all.each[i]->size == sizeof(Buffer), "XLA's FFI has another layout of a buffer than Chainrule knows");
  return all.each;
}

// The loss's options, all float64, and which of logsumexp, log-likelihood and entropy are told: bits 1, 2 and 4.
struct Options {
  double temperature = 1.0, z_loss = 0.0, softcap = 0.0, scale = 1.0, told = 0.0;
  bool tells(int which) const { return static_cast<int>(told) >> which & 1; }
  int count() const { return tells(0) + tells(1) + tells(2); }
};

Options options_of(const Attributes& given) {
  Options options;
  if (given.count == 0) return options;
  require(given.size == sizeof(Attributes), "XLA's FFI has another layout of its attributes than Chainrule knows");
  const std::pair<std::string, double*> known[] = {{"scale", &options.scale},
                                                   {"softcap", &options.softcap},
                                                   {"temperature", &options.temperature},
                                                   {"told", &options.told},
                                                   {"z_loss", &options.z_loss}};
  for (std::int64_t i = 0; i < given.count; ++i) {
    const std::string name(given.names[i]->text, given.names[i]->length);
    const auto* const found =
        std::find_if(std::begin(known), std::end(known), [&](const auto& option) { return option.first == name; });
    require(found != std::end(known) && given.kinds[i] == is_scalar, "XLA's FFI gives an option that is not known");
    const Scalar& scalar = *static_cast<const Scalar*>(given.each[i]);
    require(scalar.dtype == Dtype::float64, "XLA's FFI gives an option of another dtype than was asked for");
    *found->second = *static_cast<const double*>(scalar.value);
  }
  return options;
}

// ---- operands and results ----

struct Shape {
  std::size_t n, k;
};

// Of logits (..., K), as a matrix.
Shape shape_of(const Buffer& logits) {
  require(logits.rank > 0 && logits.shape[logits.rank - 1] > 0, "no classes");
  std::size_t n = 1;
  for (std::int64_t i = 0; i + 1 < logits.rank; ++i) n *= static_cast<std::size_t>(logits.shape[i]);
  return {n, static_cast<std::size_t>(logits.shape[logits.rank - 1])};
}

template <class V>
V* data_of(const Buffer& buffer, Dtype dtype, std::size_t count) {
  require(buffer.dtype == dtype, "XLA's FFI gives a buffer of another dtype than was asked for");
  std::size_t there = 1;
  for (std::int64_t i = 0; i < buffer.rank; ++i) there *= static_cast<std::size_t>(buffer.shape[i]);
  require(there == count, "XLA's FFI gives a buffer of another shape than was asked for");
  return static_cast<V*>(buffer.data);
}

template <class T>
chainrule::Matrix<T> matrix(T* data, std::size_t k) {
  return {data, static_cast<std::ptrdiff_t>(k), 1};
}

template <class T>
chainrule::Job<T> job_of(chainrule::Output output, Shape shape, const T* logits, T* result) {
  chainrule::Job<T> job{};
  job.output = output, job.n = shape.n, job.k = shape.k;
  job.logits = matrix(logits, shape.k), job.result = matrix(result, shape.k);
  return job;
}

template <class T>
T nan_of() {
  if constexpr (std::is_same_v<T, chainrule::float16>) return {0x7e00};
  else if constexpr (std::is_same_v<T, chainrule::bfloat16>) return {0x7fc0};
  else return std::numeric_limits<T>::quiet_NaN();
}

// Memory that no other thread is using: fresh memory for every call would cost more than the kernel.
class Scratch {
 public:
  explicit Scratch(std::size_t bytes) {
    {
      const std::lock_guard guard(spare().mutex);
      if (!spare().blocks.empty()) block_ = std::move(spare().blocks.back()), spare().blocks.pop_back();
    }
    if (block_.size >= bytes) return;
    block_ = {};
    block_.memory.reset(::operator new(bytes, line)), block_.size = bytes;
  }
  ~Scratch() {
    const std::lock_guard guard(spare().mutex);
    if (spare().blocks.size() < most) spare().blocks.push_back(std::move(block_));
  }
  Scratch(const Scratch&) = delete;
  void* data() const { return block_.memory.get(); }

 private:
  static constexpr std::align_val_t line{64};
  static constexpr std::size_t most = 256;
  struct Free {
    void operator()(void* memory) const { ::operator delete(memory, line); }
  };
  struct Block {
    std::unique_ptr<void, Free> memory;
    std::size_t size = 0;
  };
  struct Spare {
    std::mutex mutex;
    std::vector<Block> blocks;
    Spare() { blocks.reserve(most); }  // so that giving one back needs no memory
  };
  static Spare& spare() {
    static Spare& only = *new Spare;  // never destroyed: XLA's threads may be at work to the last
    return only;
  }
  Block block_;
};

// Of a large loss; counted with Python's lock held, when XLA gets the handlers: os.environ may change in another thread
// while getenv reads.
std::atomic<int> threads = 1;

template <class T>
void run(chainrule::Job<T>& job) {
  std::atomic<bool> changed{false};
  job.changed = &changed;
  chainrule::run(job, chainrule::within_limit(threads));
  require(!changed, "labels changed while the loss was computed");
}

// ---- the handlers ----

// Losses and gradients for labels (N,), in [0, K) or else NaN.
template <class T, class Label>
void of_labels(chainrule::Job<T>& job, const Label* labels) {
  const auto wrong = [&](std::size_t row) { return static_cast<std::uint64_t>(labels[row]) >= job.k; };
  bool any = false;
  for (std::size_t row = 0; row < job.n; ++row) any |= wrong(row);
  std::unique_ptr<std::int64_t[]> copies;
  if constexpr (std::is_same_v<Label, std::int64_t>) job.labels = labels;
  if (any || !std::is_same_v<Label, std::int64_t>) {
    copies.reset(new std::int64_t[job.n]);
    for (std::size_t row = 0; row < job.n; ++row) copies[row] = wrong(row) ? -1 : labels[row];
    job.labels = copies.get(), job.ignores = any, job.ignored = -1;
  }
  run(job);
  for (std::size_t row = 0; any && row < job.n; ++row) {
    if (!wrong(row)) continue;
    job.losses.own[row] = nan_of<T>();
    if (job.log_likelihood) job.log_likelihood.own[row] = nan_of<T>();
    std::fill_n(job.result.data + row * job.k, job.k, nan_of<T>());
  }
}

// Losses and gradients of rows that lie one after another, for labels (...), or targets (..., K) of the logits' dtype;
// `grad` has room for `together` rows at a time. `told` are the results that tell more of each row.
template <class T>
void losses_into(const Frame& frame, const Options& options, T* losses, const Buffer* const* told, T* grad,
                 std::size_t together) {
  const Buffer* const* in = buffers(frame.operands, 2);
  const Buffer &logits = *in[0], &given = *in[1];
  const auto [n, k] = shape_of(logits);
  const T* const a = data_of<const T>(logits, logits.dtype, n * k);
  T* more[3] = {};
  for (int i = 0; i < 3; ++i)
    if (options.tells(i)) more[i] = data_of<T>(**told++, logits.dtype, n);
  for (std::size_t begin = 0; begin < n; begin += together) {
    const std::size_t rows = std::min(together, n - begin);
    chainrule::Job<T> job = job_of(chainrule::Output::gradient, {rows, k}, a + begin * k, grad);
    job.losses.own = losses + begin;
    job.temperature = options.temperature, job.z_loss = options.z_loss;
    job.softcap = options.softcap, job.multiplier = options.scale;
    if (more[0]) job.logsumexp.own = more[0] + begin;
    if (more[1]) job.log_likelihood.own = more[1] + begin;
    if (more[2]) job.entropy.own = more[2] + begin;
    if (given.dtype == Dtype::int32) of_labels(job, data_of<const std::int32_t>(given, Dtype::int32, n) + begin);
    else if (given.dtype == Dtype::int64) of_labels(job, data_of<const std::int64_t>(given, Dtype::int64, n) + begin);
    else {
      job.second = matrix(data_of<const T>(given, logits.dtype, n * k) + begin * k, k);
      run(job);
    }
  }
}

struct LossAndGradient {
  template <class T>
  static void compute(const Frame& frame) {
    const Options options = options_of(frame.attributes);
    const Buffer& logits = *buffers(frame.operands, 2)[0];
    const Buffer* const* out = buffers(frame.results, 2 + options.count());
    const auto [n, k] = shape_of(logits);
    T* const losses = data_of<T>(*out[0], logits.dtype, n);
    T* const grad = data_of<T>(*out[1], logits.dtype, n * k);
    losses_into(frame, options, losses, out + 2, grad, std::max<std::size_t>(n, 1));
  }
};

// Gradients that nobody asked for are computed so many at a time and thrown away.
struct Loss {
  static constexpr std::size_t unread = 1 << 20;
  template <class T>
  static void compute(const Frame& frame) {
    const Options options = options_of(frame.attributes);
    const Buffer& logits = *buffers(frame.operands, 2)[0];
    const Buffer* const* out = buffers(frame.results, 1 + options.count());
    const auto [n, k] = shape_of(logits);
    const std::size_t together = std::clamp<std::size_t>(unread / k, 1, std::max<std::size_t>(n, 1));
    const Scratch grad(together * k * sizeof(T));
    losses_into(frame, options, data_of<T>(*out[0], logits.dtype, n), out + 1, static_cast<T*>(grad.data()), together);
  }
};

template <chainrule::Output output>
struct ByRow {
  template <class T>
  static void compute(const Frame& frame) {
    const Buffer* const *in = buffers(frame.operands, 1), *const *out = buffers(frame.results, 1);
    const auto [n, k] = shape_of(*in[0]);
    const T* const logits = data_of<const T>(*in[0], in[0]->dtype, n * k);
    chainrule::Job<T> job = job_of(output, {n, k}, logits, data_of<T>(*out[0], in[0]->dtype, n * k));
    run(job);
  }
};

template <class What>
void compute(const Frame& frame) {
  require(frame.size >= sizeof(Frame), "XLA's FFI has another layout of a call than Chainrule knows");
  require(frame.operands.count > 0, "XLA's FFI gives no operand");
  const chainrule::DefaultMode mode;
  switch (frame.operands.each[0]->dtype) {
    case Dtype::float32: return What::template compute<float>(frame);
    case Dtype::float64: return What::template compute<double>(frame);
    case Dtype::bfloat16: return What::template compute<chainrule::bfloat16>(frame);
    case Dtype::float16: return What::template compute<chainrule::float16>(frame);
    default: throw std::invalid_argument("XLA's FFI gives logits of another dtype than was asked for");
  }
}

// What XLA calls: computes, and reports what that throws, which must not get into XLA.
template <class What>
void* handle(const Frame* frame) {
  if (frame->extension && frame->extension->kind == asks_for_version) {
    // The handler is of XLA's own minor version, which only ever adds; XLA refuses one of another major version.
    Version& version = frame->extension->metadata->version;
    version.major = major_version;
    version.minor = frame->api ? frame->api->version.minor : 1;  // jaxlib 0.6 asks without its interface
    return nullptr;
  }
  const auto error = [&](const char* what) {
    const std::string message = std::string("chainrule: ") + what;
    ErrorArguments arguments{sizeof(ErrorArguments), nullptr, message.c_str(), internal_error};
    return frame->api->make_error(&arguments);
  };
  try {
    compute<What>(*frame);
  } catch (const std::exception& thrown) {
    return error(thrown.what());
  } catch (...) {
    return error("an unknown error");
  }
  return nullptr;
}

}  // namespace

void bind_xla(nb::module_& m) {
  m.def("xla_handlers", [] {
    threads = chainrule::max_threads();
    nb::dict handlers;
    const auto add = [&](const char* name, void* (*handler)(const Frame*)) {
      handlers[name] = nb::capsule(reinterpret_cast<void*>(handler));
    };
    add("chainrule_loss", handle<Loss>);
    add("chainrule_loss_and_gradient", handle<LossAndGradient>);
    add("chainrule_softmax", handle<ByRow<chainrule::Output::softmax>>);
    add("chainrule_log_softmax", handle<ByRow<chainrule::Output::log_softmax>>);
    return handlers;
  });
}
