// The ordinary call of the output layer, whole: its arguments are looked at, the results are made, the kernel runs.
//
// Ordinary are NumPy's own arrays of float32 or float64, with int64 labels that are in range or ignored, and no weights.
// Whatever else may come is left to Python, whose checks take many times as long as the kernel does for a few rows: other
// arrays and other options, and every error with its words. Nothing has been written then.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>

#include <atomic>
#include <limits>
#include <optional>
#include <string>

#include "errors.hpp"
#include "gil.hpp"
#include "mode.hpp"
#include "output_layer.hpp"

namespace nb = nanobind;
using namespace nb::literals;

namespace {

// NumPy's own, found when the module is imported, and kept.
struct NumPy {
  PyObject *array, *empty, *bytes, *float32, *float64;
};
NumPy numpy;

template <class T>
nb::handle dtype() {
  return sizeof(T) == sizeof(float) ? numpy.float32 : numpy.float64;
}

// Like numpy.empty, on a cache line's boundary: stores do not straddle lines, and JAX takes it without a copy.
nb::object empty(nb::tuple shape, nb::handle dtype, std::size_t itemsize) {
  std::size_t size = itemsize;
  for (const nb::handle count : shape) size *= nb::cast<std::size_t>(count);
  constexpr std::size_t line = 64;
  const nb::object memory = nb::handle(numpy.empty)(size + line, nb::handle(numpy.bytes));
  Py_buffer buffer;
  if (PyObject_GetBuffer(memory.ptr(), &buffer, PyBUF_WRITABLE) != 0) throw nb::python_error();
  const std::size_t start = -reinterpret_cast<std::uintptr_t>(buffer.buf) % line;
  PyBuffer_Release(&buffer);
  return nb::handle(numpy.array)(shape, dtype, memory, start);
}

template <class T>
T* address_of(nb::handle array) {
  return static_cast<T*>(nb::cast<nb::ndarray<nb::device::cpu>>(array, false).data());
}

// Is it NumPy's own, and no subclass? Then of which dtype and where, if it lies as the kernels want it.
using Array = nb::ndarray<nb::ro, nb::device::cpu>;
bool borrow(nb::handle value, std::size_t rank, Array& array) {
  if (reinterpret_cast<PyObject*>(Py_TYPE(value.ptr())) != numpy.array || !nb::try_cast(value, array, false)) return false;
  const std::size_t size = (array.dtype().bits + 7) / 8;
  return array.ndim() == rank && reinterpret_cast<std::uintptr_t>(array.data()) % size == 0;
}

// What decides the loss beside logits and labels; LossOptions has checked it.
struct Scalars {
  const std::string& reduction;
  std::optional<std::int64_t> ignore_index;
  double label_smoothing, temperature, z_loss;
};

// The sum of the losses divided as the reduction says, or 0 where nothing counts; false where a label is out of range, and
// then nothing has been written. options.py's divisor_for and reduced say the same.
template <class T>
bool run(chainrule::Job<T>& job, const Scalars& given, int threads, T& reduced) {
  const chainrule::Unlocked unlocked;
  const chainrule::DefaultMode mode;
  job.ignores = given.ignore_index.has_value(), job.ignored = given.ignore_index.value_or(0);
  job.label_smoothing = given.label_smoothing, job.temperature = given.temperature, job.z_loss = given.z_loss;
  if (!chainrule::labels_fit(job)) return false;
  double divisor = 1.0;
  if (given.reduction == "mean") {
    std::size_t counted = 0;
    for (std::size_t row = 0; row < job.n; ++row) counted += !(job.ignores & (job.labels[row] == job.ignored));
    divisor = counted ? static_cast<double>(counted) : std::numeric_limits<double>::infinity();
  }
  job.scale = 1.0 / divisor;
  std::atomic<bool> changed{false};
  job.changed = &changed;
  const double sum = chainrule::run(job, threads);
  if (changed) throw chainrule::InputError(chainrule::labels_changed);
  reduced = static_cast<T>(divisor < std::numeric_limits<double>::infinity() ? sum / divisor : 0.0);
  return true;
}

template <class T>
nb::object of_arrays(const Array& logits, const Array& labels, const Scalars& given, int threads) {
  chainrule::Job<T> job{};
  job.output = chainrule::Output::gradient, job.n = logits.shape(0), job.k = logits.shape(1);
  job.logits = {static_cast<const T*>(logits.data()), static_cast<std::ptrdiff_t>(logits.stride(0)),
                static_cast<std::ptrdiff_t>(logits.stride(1))};
  job.labels = static_cast<const std::int64_t*>(labels.data());
  const nb::object gradient = empty(nb::make_tuple(job.n, job.k), dtype<T>(), sizeof(T));
  job.result = {address_of<T>(gradient), static_cast<std::ptrdiff_t>(job.k), 1};
  nb::object losses;
  if (given.reduction == "none") {
    losses = empty(nb::make_tuple(job.n), dtype<T>(), sizeof(T));
    job.losses = address_of<T>(losses);
  }
  T reduced;
  if (!run(job, given, threads, reduced)) return nb::none();
  return nb::make_tuple(losses ? losses : dtype<T>()(reduced), gradient);
}

// (loss, gradient), or None where something is not ordinary.
nb::object loss_and_gradient(nb::handle logits, nb::handle labels, const std::string& reduction,
                             std::optional<std::int64_t> ignore_index, double label_smoothing, double temperature,
                             double z_loss, int threads) {
  Array a, given;
  if (!borrow(logits, 2, a) || !borrow(labels, 1, given)) return nb::none();
  if (a.shape(1) == 0 || given.shape(0) != a.shape(0) || given.dtype() != nb::dtype<std::int64_t>()) return nb::none();
  if (given.shape(0) > 1 && given.stride(0) != 1) return nb::none();
  const Scalars scalars{reduction, ignore_index, label_smoothing, temperature, z_loss};
  if (a.dtype() == nb::dtype<float>()) return of_arrays<float>(a, given, scalars, threads);
  if (a.dtype() == nb::dtype<double>()) return of_arrays<double>(a, given, scalars, threads);
  return nb::none();
}

}  // namespace

void bind_ordinary(nb::module_& m) {
  const nb::module_ module = nb::module_::import_("numpy");
  const auto kept = [&](const char* name) { return nb::object(module.attr(name)).release().ptr(); };
  numpy = {kept("ndarray"), kept("empty"), kept("uint8"), kept("float32"), kept("float64")};
  m.def("loss_and_gradient", &loss_and_gradient, "logits"_a.none(), "labels"_a.none(), "reduction"_a, "ignore_index"_a.none(),
        "label_smoothing"_a, "temperature"_a, "z_loss"_a, "threads"_a);
  m.def("empty", [](nb::tuple shape, nb::handle dtype) {
    return empty(shape, dtype, nb::cast<std::size_t>(dtype.attr("itemsize")));
  }, "shape"_a, "dtype"_a);
}
