// The output layer's kernels, as the binding sees them.
#pragma once
#include <cstddef>
#include <cstdint>

#include "arithmetic.hpp"

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && defined(__gnu_linux__) && \
    !defined(CHAINRULE_NO_CLONES)
#define CHAINRULE_CLONES
// Function multi-versioning: the loader picks the clone.
#define CLONES __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define CLONES
#endif

namespace chainrule {

constexpr std::size_t block = 256;  // logits that are loaded, or stored, at once: a row's scratch is so much longer

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

// Runs some rows on this thread, and returns the sum of their losses; `scratch` holds k + block numbers.
double run_rows(const Job<float>& job, std::size_t begin, std::size_t end, double* scratch);
double run_rows(const Job<double>& job, std::size_t begin, std::size_t end, double* scratch);
double run_rows(const Job<bfloat16>& job, std::size_t begin, std::size_t end, double* scratch);
double run_rows(const Job<float16>& job, std::size_t begin, std::size_t end, double* scratch);

// Runs the job; returns the sum of the losses, in one order whatever the threads.
template <class T>
double run(const Job<T>& job, int threads);

int max_threads();              // what `threads=None` may use
const char* instruction_set();  // the clone that runs on this machine

}  // namespace chainrule
