// The binding: NumPy arrays to pointers, and the GIL released while a kernel runs. The arguments' values are checked
// in Python before, with their names and the messages; here whatever could touch foreign memory is an error again.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <atomic>
#include <stdexcept>

#include "errors.hpp"
#include "gil.hpp"
#include "instruction_set.hpp"
#include "mode.hpp"
#include "output_layer.hpp"
#include "product.hpp"

namespace nb = nanobind;
using namespace nb::literals;

namespace {

// As NumPy stores them: float16 and bfloat16 come as their bits.
template <class T>
using Stored = std::conditional_t<sizeof(T) == 2, std::uint16_t, T>;
template <class T>
using In = nb::ndarray<const Stored<T>, nb::ndim<2>, nb::device::cpu>;
template <class T>
using Out = nb::ndarray<Stored<T>, nb::ndim<2>, nb::device::cpu>;
template <class V>
using Vector = nb::ndarray<V, nb::ndim<1>, nb::c_contig, nb::device::cpu>;

void require(bool condition, const char* what) {
  if (!condition) throw std::invalid_argument(what);
}

template <class A>
void require_aligned(const A& array) {
  require(reinterpret_cast<std::uintptr_t>(array.data()) % sizeof(*array.data()) == 0, "an array is not aligned");
}

template <class T, class A>
chainrule::Matrix<T> matrix(const A& array, std::size_t n, std::size_t k) {
  require(array.shape(0) == n && array.shape(1) == k, "a matrix has another shape than the logits");
  require_aligned(array);
  return {reinterpret_cast<T*>(array.data()), static_cast<std::ptrdiff_t>(array.stride(0)),
          static_cast<std::ptrdiff_t>(array.stride(1))};
}

template <class V>
V* vector(nb::handle value, std::size_t length) {
  const auto array = nb::cast<Vector<V>>(value, false);
  require(array.shape(0) == length, "a vector has another length than it should");
  require_aligned(array);
  return array.data();
}

// In the logits' own format, or of 16-bit logits in float32.
template <class T>
chainrule::Column<T> column(nb::handle value, std::size_t length) {
  if (sizeof(T) == 2 && nb::isinstance<Vector<float>>(value)) return {nullptr, vector<float>(value, length)};
  return {reinterpret_cast<T*>(vector<Stored<T>>(value, length)), nullptr};
}

chainrule::Output output_named(const std::string& name) {
  if (name == "gradient") return chainrule::Output::gradient;
  if (name == "softmax") return chainrule::Output::softmax;
  if (name == "log_softmax") return chainrule::Output::log_softmax;
  if (name == "hessian_diagonal") return chainrule::Output::hessian_diagonal;
  require(name == "hessian_vector_product", "no such output");
  return chainrule::Output::hessian_vector_product;
}

// Runs the kernel for one format. `options` holds the names of Job's members that differ from their defaults.
template <class T>
double compute(const std::string& output, nb::object logits, nb::object result, const nb::dict& options, int threads) {
  const auto a = nb::cast<In<T>>(logits, false);
  const std::size_t n = a.shape(0), k = a.shape(1);
  require(k > 0, "no classes");
  chainrule::Job<T> job{output_named(output), n, k, matrix<const T>(a, n, k),
                        matrix<T>(nb::cast<Out<T>>(result, false), n, k)};
  for (auto [key, value] : options) {
    const auto name = nb::cast<std::string>(key);
    if (name == "labels") job.labels = vector<const std::int64_t>(value, n);
    else if (name == "second") job.second = matrix<const T>(nb::cast<In<T>>(value, false), n, k);
    else if (name == "class_weights") job.class_weights = vector<const double>(value, k);
    else if (name == "ignore_index") job.ignores = true, job.ignored = nb::cast<std::int64_t>(value);
    else if (name == "label_smoothing") job.label_smoothing = nb::cast<double>(value);
    else if (name == "temperature") job.temperature = nb::cast<double>(value);
    else if (name == "z_loss") job.z_loss = nb::cast<double>(value);
    else if (name == "scale") job.scale = nb::cast<double>(value);
    else if (name == "multiplier") job.multiplier = nb::cast<double>(value);
    else if (name == "softcap") job.softcap = nb::cast<double>(value);
    else if (name == "losses") job.losses = column<T>(value, n);
    else if (name == "probabilities") job.probabilities = matrix<T>(nb::cast<Out<T>>(value, false), n, k);
    else if (name == "logsumexp") job.logsumexp = column<T>(value, n);
    else if (name == "log_likelihood") job.log_likelihood = column<T>(value, n);
    else if (name == "entropy") job.entropy = column<T>(value, n);
    else if (name == "prediction") job.prediction = vector<std::int64_t>(value, n);
    else if (name == "correct") job.correct = vector<bool>(value, n);
    else throw std::invalid_argument("no such option: " + name);
  }
  const bool product = job.output == chainrule::Output::hessian_vector_product;
  if (job.output == chainrule::Output::gradient) require(job.labels || job.second.data || n == 0, "neither labels nor targets");
  if (product) require(job.second.data || n == 0, "no vectors");
  const chainrule::Unlocked unlocked;
  const chainrule::DefaultMode mode;
  if (job.labels && !chainrule::labels_fit(job))  // before anything is written
    throw chainrule::InputError(chainrule::labels_changed);
  std::atomic<bool> changed{false};
  job.changed = &changed;
  const double sum = chainrule::run(job, threads);
  if (changed) throw chainrule::InputError(chainrule::labels_changed);
  return sum;
}

double run(const std::string& format, const std::string& output, nb::object logits, nb::object result,
           const nb::dict& options, int threads) {
  if (format == "float32") return compute<float>(output, logits, result, options, threads);
  if (format == "float64") return compute<double>(output, logits, result, options, threads);
  if (format == "bfloat16") return compute<chainrule::bfloat16>(output, logits, result, options, threads);
  require(format == "float16", "no such format");
  return compute<chainrule::float16>(output, logits, result, options, threads);
}

// c = a b, or c += a b, with a (m, k) and b (k, n) of any strides, and c (m, n) by rows.
template <class T>
void multiply(nb::object a, nb::object b, nb::object c, bool adds, int threads) {
  using Operand = nb::ndarray<const T, nb::ndim<2>, nb::device::cpu>;
  const auto left = nb::cast<Operand>(a, false), right = nb::cast<Operand>(b, false);
  const auto result = nb::cast<nb::ndarray<T, nb::ndim<2>, nb::device::cpu>>(c, false);
  chainrule::Product<T> job{};
  job.m = left.shape(0), job.n = right.shape(1), job.k = left.shape(1), job.adds = adds;
  require(right.shape(0) == job.k && result.shape(0) == job.m && result.shape(1) == job.n,
          "a product of matrices that do not fit");
  require(result.stride(1) == 1 || job.n <= 1, "the columns of c lie apart");
  require_aligned(left), require_aligned(right), require_aligned(result);
  job.a = left.data(), job.a_row = left.stride(0), job.a_column = left.stride(1);
  job.b = right.data(), job.b_row = right.stride(0), job.b_column = right.stride(1);
  job.c = result.data(), job.c_row = result.stride(0);
  const chainrule::Unlocked unlocked;
  const chainrule::DefaultMode mode;
  chainrule::multiply(job, threads);
}

}  // namespace

void bind_training(nb::module_& m);  // training_binding.cpp
void bind_ordinary(nb::module_& m);  // ordinary.cpp
void bind_xla(nb::module_& m);       // xla.cpp

NB_MODULE(_kernels, m) {
  m.doc() = "The output layer's kernels; chainrule.output checks what goes in.";
  m.def("run", &run, "format"_a, "output"_a, "logits"_a, "result"_a, "options"_a, "threads"_a);
  m.def("multiply_float32", &multiply<float>, "a"_a, "b"_a, "c"_a, "adds"_a, "threads"_a);
  m.def("multiply_float64", &multiply<double>, "a"_a, "b"_a, "c"_a, "adds"_a, "threads"_a);
  bind_training(m);
  bind_ordinary(m);
  bind_xla(m);
  m.def("max_threads", &chainrule::max_threads);
  m.def("limit_threads", &chainrule::limit_threads, "threads"_a);
  m.def("instruction_set", &chainrule::instruction_set);
  m.def("instruction_sets", &chainrule::instruction_sets);
  nb::set_leak_warnings(false);  // what a daemon thread holds when the process ends is not given back
  nb::module_::import_("atexit").attr("register")(nb::cpp_function([] {
    nb::gil_scoped_release release;
    chainrule::Ending::it().begin();
  }));
  // found now, and kept: an error may come up in a thread that cannot import
  static PyObject* const input_error = nb::object(nb::module_::import_("chainrule.errors").attr("InputError")).release().ptr();
  nb::register_exception_translator([](const std::exception_ptr& thrown, void*) {
    try {
      std::rethrow_exception(thrown);
    } catch (const chainrule::InputError& error) {
      PyErr_SetString(input_error, error.what());
    }
  });
}
