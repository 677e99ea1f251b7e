// The ordinary call of the output layer, whole: its arguments are looked at, the results are made, the kernel runs.
//
// Ordinary are NumPy's own arrays of float32 or float64, or what the PyTorch face hands over, with int64 labels that are in
// range or ignored, and no weights. Whatever else may come is left to Python, whose checks take many times as long as the
// kernel does for a few rows: other arrays and other options, and every error with its words. Nothing has been written then.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>

#include <atomic>
#include <limits>
#include <optional>
#include <stdexcept>
#include <string>
#include <type_traits>

#include "errors.hpp"
#include "exchange.hpp"
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

using In = nb::ndarray<nb::ro, nb::device::cpu>;
using Out = nb::ndarray<nb::device::cpu>;

template <class A>
bool lies_well(const A& array, std::size_t rank) {
  return array.ndim() == rank && reinterpret_cast<std::uintptr_t>(array.data()) % ((array.dtype().bits + 7) / 8) == 0;
}

template <class T>
bool holds(const nb::dlpack::dtype& dtype) {
  constexpr bool is_bfloat16 = std::is_same_v<T, chainrule::bfloat16>;
  const auto code = is_bfloat16 ? nb::dlpack::dtype_code::Bfloat : nb::dlpack::dtype_code::Float;
  return dtype == nb::dlpack::dtype{static_cast<std::uint8_t>(code), 8 * sizeof(T), 1};
}

// Numbers one after another, that can be written.
template <class T, class A>
T* written(const A& array, std::size_t rank, std::size_t rows, std::size_t columns) {
  if (!lies_well(array, rank) || !holds<T>(array.dtype()) || array.shape(0) != rows ||
      (rank == 2 && array.shape(1) != columns))
    throw std::invalid_argument("a result has another shape or dtype than it should");
  for (std::size_t axis = 0, step = rank == 2 ? columns : 1; axis < rank; ++axis, step = 1)
    if (array.shape(axis) > 1 && array.stride(axis) != static_cast<std::int64_t>(step))
      throw std::invalid_argument("a result has gaps");
  return static_cast<T*>(array.data());
}

// What decides the loss beside logits and labels; LossOptions has checked it.
struct Scalars {
  const std::string& reduction;
  std::optional<std::int64_t> ignore_index;
  double label_smoothing, temperature, z_loss;
};

// The sum of the losses divided as the reduction says, or 0 where nothing counts; for float32 it is rounded, where the
// caller's mode does not flush. None where a label is out of range, and then nothing has been written. options.py's
// divisor_for and reduced say the same.
template <class T>
std::optional<double> run(chainrule::Job<T>& job, const Scalars& given, int threads) {
  constexpr double nothing = std::numeric_limits<double>::infinity();
  const chainrule::Unlocked unlocked;
  const chainrule::DefaultMode mode;
  job.ignores = given.ignore_index.has_value(), job.ignored = given.ignore_index.value_or(0);
  job.label_smoothing = given.label_smoothing, job.temperature = given.temperature, job.z_loss = given.z_loss;
  if (!chainrule::labels_fit(job)) return std::nullopt;
  double divisor = 1.0;
  if (given.reduction == "mean") {
    std::size_t counted = 0;
    for (std::size_t row = 0; row < job.n; ++row) counted += !(job.ignores & (job.labels[row] == job.ignored));
    divisor = counted ? static_cast<double>(counted) : nothing;
  }
  job.scale = 1.0 / divisor;
  std::atomic<bool> changed{false};
  job.changed = &changed;
  const double sum = chainrule::run(job, threads);
  if (changed) throw chainrule::InputError(chainrule::labels_changed);
  const double reduced = divisor < nothing ? sum / divisor : 0.0;
  return std::is_same_v<T, float> ? static_cast<float>(reduced) : reduced;
}

template <class T, class A>
chainrule::Job<T> job_of(const A& logits, const A& labels) {
  chainrule::Job<T> job{};
  job.output = chainrule::Output::gradient, job.n = logits.shape(0), job.k = logits.shape(1);
  job.logits = {static_cast<const T*>(logits.data()), static_cast<std::ptrdiff_t>(logits.stride(0)),
                static_cast<std::ptrdiff_t>(logits.stride(1))};
  job.labels = static_cast<const std::int64_t*>(labels.data());
  return job;
}

template <class A>
bool are_ordinary(const A& logits, const A& labels) {
  return lies_well(logits, 2) && lies_well(labels, 1) && logits.shape(1) > 0 && labels.shape(0) == logits.shape(0) &&
         labels.dtype() == nb::dtype<std::int64_t>() && (labels.shape(0) <= 1 || labels.stride(0) == 1);
}

// Calls f with a number of the logits' format, if that is one of those.
template <class... Formats, class A, class F>
nb::object of_format(const A& logits, F f) {
  nb::object result = nb::none();
  (void)((holds<Formats>(logits.dtype()) && (result = f(Formats{}), true)) || ...);
  return result;
}

// (loss, gradient) of NumPy's own arrays, or None where something is not ordinary.
nb::object loss_and_gradient(nb::handle logits, nb::handle labels, const std::string& reduction,
                             std::optional<std::int64_t> ignore_index, double label_smoothing, double temperature,
                             double z_loss, int threads) {
  const auto borrow = [](nb::handle value, In& array) {  // no subclass's
    return reinterpret_cast<PyObject*>(Py_TYPE(value.ptr())) == numpy.array && nb::try_cast(value, array, false);
  };
  In a, given;
  if (!borrow(logits, a) || !borrow(labels, given) || !are_ordinary(a, given)) return nb::none();
  return of_format<float, double>(a, [&](auto number) -> nb::object {
    using T = decltype(number);
    chainrule::Job<T> job = job_of<T>(a, given);
    const nb::object gradient = empty(nb::make_tuple(job.n, job.k), dtype<T>(), sizeof(T));
    job.result = {written<T>(nb::cast<Out>(gradient, false), 2, job.n, job.k), static_cast<std::ptrdiff_t>(job.k), 1};
    nb::object loss;
    if (reduction == "none") {
      loss = empty(nb::make_tuple(job.n), dtype<T>(), sizeof(T));
      job.losses.own = written<T>(nb::cast<Out>(loss, false), 1, job.n, 0);
    }
    const auto reduced = run(job, {reduction, ignore_index, label_smoothing, temperature, z_loss}, threads);
    if (!reduced) return nb::none();
    return nb::make_tuple(loss ? loss : dtype<T>()(*reduced), gradient);
  });
}

// The same into memory that is there, of tensors that a table shows, and of 16 bits too: the reduced loss, or None.
nb::object loss_and_gradient_into(nb::handle table, nb::handle logits, nb::handle labels, nb::handle gradient,
                                  nb::handle losses, const std::string& reduction,
                                  std::optional<std::int64_t> ignore_index, double label_smoothing) {
  const chainrule::ExchangeTable* const exchange = chainrule::exchange_table(table);
  chainrule::TensorView a, given, result, each;
  if (!a.look(exchange, logits.ptr()) || !given.look(exchange, labels.ptr()) || !result.look(exchange, gradient.ptr()) ||
      (!losses.is_none() && !each.look(exchange, losses.ptr())) || !are_ordinary(a, given))
    return nb::none();
  return of_format<float, double, chainrule::bfloat16, chainrule::float16>(a, [&](auto number) -> nb::object {
    using T = decltype(number);
    chainrule::Job<T> job = job_of<T>(a, given);
    job.result = {written<T>(result, 2, job.n, job.k), static_cast<std::ptrdiff_t>(job.k), 1};
    if (!losses.is_none()) job.losses.own = written<T>(each, 1, job.n, 0);
    const auto reduced = run(job, {reduction, ignore_index, label_smoothing, 1.0, 0.0}, chainrule::max_threads());
    if (!reduced) return nb::none();
    return nb::float_(*reduced);
  });
}

// Is a tensor that a table shows the number 1, in float32 or float64?
bool is_one(nb::handle table, nb::handle tensor) {
  chainrule::TensorView number;
  if (!number.look(chainrule::exchange_table(table), tensor.ptr()) || number.ndim() != 0) return false;
  if (holds<float>(number.dtype())) return *static_cast<const float*>(number.data()) == 1.0f;
  return holds<double>(number.dtype()) && *static_cast<const double*>(number.data()) == 1.0;
}

// The same of PyTorch's tensors, from its face's arguments as they come, with its autograd: None where something is not
// ordinary. What is asked of PyTorch it answers by functions and names that are given once, as `losses.py` tells them.
class OrdinaryLoss {
 public:
  explicit OrdinaryLoss(nb::dict of) {
    const auto get = [&](const char* name) { return nb::object(of[name]); };
    const auto tuple = [&](const char* name) { return nb::cast<nb::tuple>(of[name]); };
    table_ = get("table"), types_ = tuple("types"), usual_ = tuple("usual"), looks_ = tuple("looks");
    empty_like_ = get("empty_like"), new_like_ = get("new_like"), scalar_ = tuple("scalar"), options_ = get("options");
    record_ = get("record"), grad_enabled_ = get("grad_enabled"), keeps_graph_ = get("keeps_graph");
    is_neg_ = nb::str("is_neg"), requires_grad_ = nb::str("requires_grad");
  }

  // The loss, recorded with its gradient where a derivative is wanted.
  nb::object call(nb::handle logits, nb::handle labels, nb::handle ignore_index, nb::handle reduction,
                  nb::handle label_smoothing, nb::tuple others) const {
    if (!is_of_types(logits) || !is_of_types(labels) || !are_usual(others) || someone_looks()) return nb::none();
    std::string name;
    std::int64_t ignored = -100;
    const bool counts = ignore_index.is_none() || (PyLong_CheckExact(ignore_index.ptr()) && nb::try_cast(ignore_index, ignored));
    if (!counts || !PyFloat_CheckExact(label_smoothing.ptr()) || !nb::try_cast(reduction, name, false)) return nb::none();
    const double smoothing = PyFloat_AsDouble(label_smoothing.ptr());
    if (!(smoothing >= 0.0 && smoothing <= 1.0) || (name != "mean" && name != "sum" && name != "none")) return nb::none();

    const chainrule::ExchangeTable* const exchange = chainrule::exchange_table(table_);
    chainrule::TensorView a, given, result, each;
    if (!a.look(exchange, logits.ptr()) || !given.look(exchange, labels.ptr()) || !are_ordinary(a, given)) return nb::none();
    return of_format<float, double>(a, [&](auto number) -> nb::object {
      using T = decltype(number);
      chainrule::Job<T> job = job_of<T>(a, given);
      const std::size_t bytes = job.n * job.k * sizeof(T);
      if ((bytes && !job.logits.data) || !is_false(logits.attr(is_neg_)())) return nb::none();
      const bool wanted = is_true(logits.attr(requires_grad_)) && is_true(grad_enabled_());
      if (!wanted && bytes > unread) return nb::none();
      const nb::object gradient = (bytes < unread ? empty_like_ : new_like_)(logits);
      if (!result.look(exchange, gradient.ptr()) || !in_one_run(result)) return nb::none();
      job.result = {written<T>(result, 2, job.n, job.k), static_cast<std::ptrdiff_t>(job.k), 1};
      nb::object loss;
      if (name == "none") {
        loss = logits.attr("new_empty")(job.n);
        if (!each.look(exchange, loss.ptr())) return nb::none();
        job.losses.own = written<T>(each, 1, job.n, 0);
      }
      const auto reduced = run(job, {name, ignored, smoothing, 1.0, 0.0}, chainrule::max_threads());
      if (!reduced) return nb::none();
      if (!loss) loss = scalar_[sizeof(T) == 8](*reduced);
      if (!wanted) return loss;
      return record_(logits, nb::make_tuple(labels, options_(reduction, ignored, label_smoothing), loss, gradient));
    });
  }

  // Is the kept gradient, as it is, the one of a first backward, which nobody looks at?
  bool hands_on(nb::handle gradient, nb::handle grad_loss) const {
    return is_of_types(gradient) && is_of_types(grad_loss) && is_false(grad_enabled_()) && is_false(keeps_graph_()) &&
           !someone_looks() && is_one(table_, grad_loss);
  }

 private:
  static constexpr std::size_t unread = 2 << 20;  // bytes of a gradient that nobody asked for: it stays in the caches

  static bool is_true(const nb::object& value) { return value.is(nb::handle(Py_True)); }
  static bool is_false(const nb::object& value) { return value.is(nb::handle(Py_False)); }
  bool is_of_types(nb::handle value) const {
    for (const nb::handle type : types_)
      if (value.type().is(type)) return true;
    return false;
  }
  bool are_usual(const nb::tuple& given) const {
    for (std::size_t i = 0; i < usual_.size(); ++i) {
      const nb::object value = given[i], usual = usual_[i];
      if (value.is(usual)) continue;
      if (!PyFloat_CheckExact(value.ptr()) || !PyFloat_CheckExact(usual.ptr())) return false;
      if (PyFloat_AsDouble(value.ptr()) != PyFloat_AsDouble(usual.ptr())) return false;
    }
    return true;
  }
  bool someone_looks() const {
    for (const nb::handle ask : looks_)
      if (PyObject_IsTrue(ask().ptr()) != 0) return true;
    return false;
  }
  static bool in_one_run(const chainrule::TensorView& a) {
    return (a.shape(0) <= 1 || a.stride(0) == static_cast<std::int64_t>(a.shape(1))) && (a.shape(1) <= 1 || a.stride(1) == 1);
  }

  nb::tuple types_, usual_, looks_, scalar_;
  nb::object table_, empty_like_, new_like_, options_, record_, grad_enabled_, keeps_graph_, is_neg_, requires_grad_;
};

}  // namespace

void bind_ordinary(nb::module_& m) {
  const nb::module_ module = nb::module_::import_("numpy");
  const auto kept = [&](const char* name) { return nb::object(module.attr(name)).release().ptr(); };
  numpy = {kept("ndarray"), kept("empty"), kept("uint8"), kept("float32"), kept("float64")};
  m.def("loss_and_gradient", &loss_and_gradient, "logits"_a.none(), "labels"_a.none(), "reduction"_a,
        "ignore_index"_a.none(), "label_smoothing"_a, "temperature"_a, "z_loss"_a, "threads"_a);
  m.def("loss_and_gradient_into", &loss_and_gradient_into, "table"_a, "logits"_a, "labels"_a, "gradient"_a,
        "losses"_a.none(), "reduction"_a, "ignore_index"_a.none(), "label_smoothing"_a);
  m.def("is_one", &is_one, "table"_a, "tensor"_a);
  nb::class_<OrdinaryLoss>(m, "OrdinaryLoss")
      .def(nb::init<nb::dict>(), "of"_a)
      .def("__call__", &OrdinaryLoss::call, "logits"_a.none(), "labels"_a.none(), "ignore_index"_a.none(),
           "reduction"_a.none(), "label_smoothing"_a.none(), "others"_a)
      .def("hands_on", &OrdinaryLoss::hands_on, "gradient"_a, "grad_loss"_a);
  m.def("empty", [](nb::tuple shape, nb::handle dtype) {
    return empty(shape, dtype, nb::cast<std::size_t>(dtype.attr("itemsize")));
  }, "shape"_a, "dtype"_a);
}
