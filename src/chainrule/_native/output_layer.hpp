// The output layer's kernels, as the binding sees them.
#pragma once
#include <cstddef>
#include <cstdint>

#include "arithmetic.hpp"

namespace chainrule {

enum class Output { gradient, softmax, log_softmax, hessian_diagonal, hessian_vector_product };

// A matrix of N rows and K columns, with any strides, in elements.
template <class T>
struct Matrix {
  T* data = nullptr;
  std::ptrdiff_t row_stride = 0, column_stride = 0;
};

template <class T>
struct Job {
  Output output;
  std::size_t n, k;
  Matrix<const T> logits;
  Matrix<T> result;                         // may be the logits themselves
  const std::int64_t* labels = nullptr;     // (N,), checked by the caller; or
  Matrix<const T> second;                   // (N, K): the targets, or the vectors of Hessian-vector products
  const double* class_weights = nullptr;    // (K,)
  bool ignores = false;
  std::int64_t ignored = 0;
  double label_smoothing = 0.0, temperature = 1.0, z_loss = 0.0;
  double scale = 1.0;                       // of every gradient: 1, or what a mean divides by
  // What is written beside the result, where it is asked for: (N,) each, but for the probabilities.
  T* losses = nullptr;
  Matrix<T> probabilities;
  T *logsumexp = nullptr, *log_likelihood = nullptr, *entropy = nullptr;
  std::int64_t* prediction = nullptr;
  bool* correct = nullptr;

  bool wants_extras() const {
    return probabilities.data || logsumexp || log_likelihood || entropy || prediction || correct;
  }
  // Is the gradient so large that the caches cannot keep it, and written where nothing is read?
  bool streams() const {
    return result.data != logits.data && result.column_stride == 1 && k >= 512 && n * k * sizeof(T) > (32u << 20);
  }
  // Neither smoothing, targets nor a z-loss: the gradient is that of one label, times a weight.
  bool plain() const { return labels && label_smoothing == 0.0 && z_loss == 0.0 && !wants_extras(); }
};

// Runs the job; returns the sum of the losses, in one order whatever the threads.
template <class T>
double run(const Job<T>& job, int threads);

int max_threads();              // what `threads=None` may use
const char* instruction_set();  // the clone that runs on this machine

}  // namespace chainrule
