// The binding: NumPy arrays to pointers, and the GIL released while a kernel runs. The arguments' values
// (labels in range, shapes that agree) are checked in Python before; here a mismatch is still an error.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>

#include <stdexcept>

#include "output_layer.hpp"

namespace nb = nanobind;
using namespace nb::literals;

namespace {

template <class T>
using Matrix = nb::ndarray<T, nb::ndim<2>, nb::device::cpu>;
using Labels = nb::ndarray<const std::int64_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using Losses = nb::ndarray<double, nb::ndim<1>, nb::c_contig, nb::device::cpu>;

template <class T>
chainrule::Job<T> job_of(chainrule::Output output, const Matrix<const T>& logits, Matrix<T>& result) {
  const std::size_t n = logits.shape(0), k = logits.shape(1);
  if (result.shape(0) != n || result.shape(1) != k || k == 0) throw std::invalid_argument("shapes differ");
  if (n > 0 && k > 1 && (logits.stride(1) != 1 || result.stride(1) != 1))
    throw std::invalid_argument("rows must be contiguous");
  return {output, n, k, {logits.data(), logits.stride(0)}, {result.data(), result.stride(0)}, nullptr, nullptr, 1.0};
}

template <class T>
void gradient(Matrix<const T> logits, Labels labels, Matrix<T> result, Losses losses, double weight, int threads) {
  auto job = job_of<T>(chainrule::Output::gradient, logits, result);
  if (labels.shape(0) != job.n || losses.shape(0) != job.n) throw std::invalid_argument("shapes differ");
  job.labels = labels.data();
  job.losses = losses.data();
  job.weight = weight;
  nb::gil_scoped_release release;
  for (std::size_t row = 0; row < job.n; ++row)  // cheap, and nothing is written before it
    if (job.labels[row] < 0 || job.labels[row] >= static_cast<std::int64_t>(job.k))
      throw std::out_of_range("a label is out of range");
  chainrule::run(job, threads);
}

template <class T>
void softmax(Matrix<const T> logits, Matrix<T> result, bool log, int threads) {
  const auto output = log ? chainrule::Output::log_softmax : chainrule::Output::softmax;
  const auto job = job_of<T>(output, logits, result);
  nb::gil_scoped_release release;
  chainrule::run(job, threads);
}

}  // namespace

NB_MODULE(_kernels, m) {
  m.doc() = "The output layer's kernels; chainrule.output checks what goes in.";
  m.def("gradient", &gradient<float>, "logits"_a, "labels"_a, "result"_a, "losses"_a, "weight"_a, "threads"_a);
  m.def("gradient", &gradient<double>, "logits"_a, "labels"_a, "result"_a, "losses"_a, "weight"_a, "threads"_a);
  m.def("softmax", &softmax<float>, "logits"_a, "result"_a, "log"_a, "threads"_a);
  m.def("softmax", &softmax<double>, "logits"_a, "result"_a, "log"_a, "threads"_a);
  m.def("max_threads", &chainrule::max_threads);
  m.def("instruction_set", &chainrule::instruction_set);
}
