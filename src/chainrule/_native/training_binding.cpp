// The binding of training and inference: a Trainer for float32 and one for float64, which borrow the caller's buffers.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <stdexcept>

#include "errors.hpp"
#include "gil.hpp"
#include "inference.hpp"
#include "mode.hpp"
#include "training.hpp"

namespace nb = nanobind;
using namespace nb::literals;

namespace {

template <class V>
using Vector = nb::ndarray<V, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
template <class V>
using Matrix = nb::ndarray<V, nb::ndim<2>, nb::c_contig, nb::device::cpu>;

void require(bool condition, const char* what) {
  if (!condition) throw std::invalid_argument(what);
}

template <class V>
V* vector(nb::handle value, std::size_t length) {
  if (value.is_none()) return nullptr;
  const auto array = nb::cast<Vector<V>>(value, false);
  require(array.shape(0) == length, "a vector has another length than it should");
  return array.data();
}

chainrule::Activation activation_named(const std::string& name) {
  for (std::size_t i = 0; i < std::size(chainrule::activation_names); ++i)
    if (name == chainrule::activation_names[i]) return static_cast<chainrule::Activation>(i);
  throw std::invalid_argument("no such activation");
}

chainrule::Rule rule_named(const std::string& name) {
  if (name == "sgd") return chainrule::Rule::sgd;
  require(name == "adam", "no such rule");
  return chainrule::Rule::adam;
}

// The caller has checked them.
constexpr const char* changed = "x or labels: out of range; another thread changed them after they were checked";

template <class T>
struct Trainer {
  chainrule::Training<T> training;
  nb::object kept;  // the buffers that are borrowed

  Trainer(const Trainer&) = delete;
  Trainer(std::vector<std::size_t> widths, nb::object parameters, nb::object gradient, nb::object first,
          nb::object second, const nb::dict& options) {
    require(widths.size() >= 2, "too few widths");
    std::size_t count = 0;
    for (std::size_t k = 0; k + 1 < widths.size(); ++k) count += (widths[k] + 1) * widths[k + 1];
    training.widths = std::move(widths);
    training.parameters = vector<T>(parameters, count), training.gradient = vector<T>(gradient, count);
    training.first = vector<T>(first, count), training.second = vector<T>(second, count);
    kept = nb::make_tuple(parameters, gradient, first, second);
    auto& u = training.update;
    for (const auto item : options) {
      const auto name = nb::cast<std::string>(item.first);
      const nb::handle value = item.second;
      const auto number = [&] { return nb::cast<double>(value); };
      if (name == "activation") training.activation = activation_named(nb::cast<std::string>(value));
      else if (name == "logistic") training.logistic = nb::cast<bool>(value);
      else if (name == "rule") u.rule = rule_named(nb::cast<std::string>(value));
      else if (name == "momentum") u.momentum = number();
      else if (name == "nesterov") u.nesterov = nb::cast<bool>(value);
      else if (name == "lr_in_velocity") u.lr_in_velocity = nb::cast<bool>(value);
      else if (name == "eps_inside") u.eps_inside = nb::cast<bool>(value);
      else if (name == "beta1") u.beta1 = number();
      else if (name == "beta2") u.beta2 = number();
      else if (name == "eps") u.eps = number();
      else if (name == "decay") u.decay = number();
      else if (name == "l2_weights") training.l2_weights = number();
      else if (name == "l2_biases") training.l2_biases = number();
      else if (name == "l2_by_batch") training.l2_by_batch = nb::cast<bool>(value);
      else if (name == "dropout") training.dropout = number();
      else if (name == "clip_norm") training.clip_norm = number();
      else if (name == "label_smoothing") training.label_smoothing = number();
      else if (name == "class_weights") training.class_weights = nb::cast<std::vector<double>>(value);
      else if (name == "seed") training.seed = nb::cast<std::uint64_t>(value);
      else if (name == "batch_size") training.batch = nb::cast<std::size_t>(value);
      else if (name == "threads") training.threads = nb::cast<int>(value);
      else throw std::invalid_argument("no such option: " + name);
    }
    require(training.parameters && training.gradient && training.batch > 0, "no parameters, or no batch");
    require(u.rule == chainrule::Rule::sgd || (training.first && training.second), "Adam has no state");
    require(training.class_weights.empty() || training.class_weights.size() == training.widths.back(),
            "class weights of another length");
    require(!training.logistic || training.class_weights.empty(), "class weights for logistic outputs");
    training.prepare();
  }

  // x is a matrix, or (values, columns, row_starts) of a sparse one
  // exchange: None, or (bounds, places, sums, call) as in training.hpp
  nb::dict run(nb::object x, nb::object labels, nb::object targets, nb::object weights, nb::object order, nb::object lr,
               std::uint64_t steps_before, nb::object stopped, nb::object exchange) {
    chainrule::Examples<T> examples;
    std::size_t rows = 0;
    const std::size_t inputs = training.widths.front(), classes = training.widths.back();
    if (nb::isinstance<nb::tuple>(x)) {
      const auto parts = nb::cast<nb::tuple>(x);
      const auto values = nb::cast<Vector<const T>>(parts[0], false);
      const auto columns = nb::cast<Vector<const std::int64_t>>(parts[1], false);
      const auto starts = nb::cast<Vector<const std::int64_t>>(parts[2], false);
      require(starts.shape(0) > 0 && columns.shape(0) == values.shape(0), "a sparse matrix whose parts do not fit");
      rows = starts.shape(0) - 1;
      const auto stored = static_cast<std::int64_t>(values.shape(0));
      require(starts.data()[0] >= 0 && starts.data()[rows] <= stored, "a sparse matrix whose rows do not fit");
      for (std::size_t r = 0; r < rows; ++r) require(starts.data()[r] <= starts.data()[r + 1], "rows out of order");
      for (std::int64_t i = 0; i < stored; ++i)
        require(static_cast<std::uint64_t>(columns.data()[i]) < inputs, "a column out of range");
      examples.x = values.data(), examples.stored = stored, examples.columns = columns.data(), examples.row_starts = starts.data();
    } else {
      const auto dense = nb::cast<nb::ndarray<const T, nb::ndim<2>, nb::device::cpu>>(x, false);
      rows = dense.shape(0);
      require(dense.shape(1) == inputs && (dense.stride(1) == 1 || inputs == 1 || rows == 0), "x has another width");
      examples.x = dense.data(), examples.x_row = dense.stride(0);
    }
    examples.labels = vector<const std::int64_t>(labels, rows);
    if (!targets.is_none()) {
      const auto matrix = nb::cast<Matrix<const T>>(targets, false);
      require(matrix.shape(0) == rows && matrix.shape(1) == classes, "targets of another shape");
      examples.targets = matrix.data();
    }
    require(training.logistic ? examples.targets && !examples.labels : examples.labels && !examples.targets,
            "labels for a softmax, targets for a logistic output");
    examples.weights = vector<const double>(weights, rows);
    const auto visited = nb::cast<Vector<const std::int64_t>>(order, false);
    examples.n = visited.shape(0), examples.order = visited.data();
    examples.steps = (examples.n + training.batch - 1) / training.batch;
    chainrule::Exchange others;
    nb::object call, raised = nb::none();  // what Python raised: handed back, so that the steps before it are counted
    if (!exchange.is_none()) {
      const auto parts = nb::cast<nb::tuple>(exchange);
      const auto bounds = nb::cast<Vector<const std::int64_t>>(parts[0], false);
      require(bounds.shape(0) > 0, "no bounds");
      examples.steps = bounds.shape(0) - 1;
      examples.bounds = bounds.data(), examples.places = vector<const std::int64_t>(parts[1], examples.n);
      others.sums = vector<double>(parts[2], 4);
      call = nb::cast<nb::object>(parts[3]);
      require(bounds.data()[0] == 0 && bounds.data()[examples.steps] == static_cast<std::int64_t>(examples.n),
              "bounds that do not fit");
      for (std::size_t s = 0; s < examples.steps; ++s) {
        const std::int64_t rows = bounds.data()[s + 1] - bounds.data()[s];
        require(rows >= 0 && rows <= static_cast<std::int64_t>(training.batch), "more rows in a step than there is room for");
      }
    }
    const double* rates = vector<const double>(lr, examples.steps);
    const auto flag = nb::cast<Vector<const std::uint8_t>>(stopped, false);
    require(flag.shape(0) == 1, "the flag that stops is one byte");
    for (std::size_t i = 0; i < examples.n; ++i) {
      require(static_cast<std::uint64_t>(examples.order[i]) < rows, "a row out of range");
      if (examples.labels && static_cast<std::uint64_t>(examples.labels[examples.order[i]]) >= classes)
        throw chainrule::InputError(changed);
    }
    chainrule::Summary found;
    {
      chainrule::Unlocked unlocked;
      const chainrule::DefaultMode mode;
      others.call = [&](std::ptrdiff_t layer) {
        const chainrule::Relocked locked(unlocked);
        try {
          call(layer);
        } catch (nb::python_error& error) {
          raised = nb::borrow(error.value());
        }
        return raised.is_none();
      };
      found = training.run(examples, rates, steps_before, [&] {
        const chainrule::Relocked locked(unlocked);  // Python's own handlers run here: Ctrl-C sets the flag, or raises
        if (PyErr_CheckSignals() == 0) return flag.data()[0] != 0;
        raised = nb::borrow(nb::python_error().value());
        return true;
      }, exchange.is_none() ? nullptr : &others);
    }
    if (found.changed) throw chainrule::InputError(changed);
    nb::dict result;
    result["loss"] = found.loss, result["weight"] = found.weight, result["correct"] = found.correct;
    result["steps"] = found.steps, result["finite"] = found.finite, result["norms"] = found.norms;
    result["raised"] = raised;
    return result;
  }
};

// weights (units, inputs) and biases (units,), layer by layer; x (N, inputs), of any strides
template <class T>
void infer(const nb::list& weights, const nb::list& biases, const std::string& activation, nb::object x, nb::object result,
           bool softmax, int threads) {
  using Strided = nb::ndarray<const T, nb::ndim<2>, nb::device::cpu>;
  const auto examples = nb::cast<Strided>(x, false);
  const auto out = nb::cast<Matrix<T>>(result, false);
  std::vector<chainrule::Layer<T>> layers;
  std::size_t inputs = examples.shape(1);
  require(weights.size() > 0 && weights.size() == biases.size(), "no layers, or not as many biases");
  for (std::size_t k = 0; k < weights.size(); ++k) {
    const auto w = nb::cast<Strided>(weights[k], false);
    const std::size_t units = w.shape(0);
    require(units > 0 && w.shape(1) == inputs, "layers that do not chain");
    require(reinterpret_cast<std::uintptr_t>(w.data()) % sizeof(T) == 0, "an array is not aligned");
    layers.push_back({inputs, units, w.data(), w.stride(1), w.stride(0), vector<const T>(biases[k], units)});
    inputs = units;
  }
  require(out.shape(0) == examples.shape(0) && out.shape(1) == inputs, "a result of another shape");
  require(reinterpret_cast<std::uintptr_t>(examples.data()) % sizeof(T) == 0, "an array is not aligned");
  const chainrule::Activation g = activation_named(activation);
  const chainrule::Unlocked unlocked;
  const chainrule::DefaultMode mode;
  chainrule::infer<T>(layers, g, {examples.data(), examples.stride(0), examples.stride(1)}, examples.shape(0), out.data(),
                      softmax, threads);
}

template <class T>
void bind(nb::module_& m, const char* name, const char* inference) {
  m.def(inference, &infer<T>, "weights"_a, "biases"_a, "activation"_a, "x"_a, "result"_a, "softmax"_a, "threads"_a);
  nb::class_<Trainer<T>>(m, name)
      .def(nb::init<std::vector<std::size_t>, nb::object, nb::object, nb::object, nb::object, const nb::dict&>(),
           "widths"_a, "parameters"_a, "gradient"_a, "first"_a.none(), "second"_a.none(), "options"_a)
      .def("run", &Trainer<T>::run, "x"_a, "labels"_a.none(), "targets"_a.none(), "weights"_a.none(), "order"_a, "lr"_a,
           "steps_before"_a, "stopped"_a, "exchange"_a.none())
      .def("last_step", [](const Trainer<T>& trainer) { return trainer.training.last_step(); });
}

}  // namespace

void bind_training(nb::module_& m) {
  bind<float>(m, "TrainerFloat32", "infer_float32");
  bind<double>(m, "TrainerFloat64", "infer_float64");
}
