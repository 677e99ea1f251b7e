// The output layer's kernels, as the binding sees them.
#pragma once
#include <cstddef>
#include <cstdint>

namespace chainrule {

enum class Output { gradient, softmax, log_softmax };

// A matrix of N rows and K contiguous columns; a row starts `stride` elements after the one before it.
template <class T>
struct Rows {
  T* data;
  std::ptrdiff_t stride;
};

template <class T>
struct Job {
  Output output;
  std::size_t n, k;
  Rows<const T> logits;
  Rows<T> result;              // may be the logits themselves
  const std::int64_t* labels;  // (N,), checked by the caller; null unless the output is the gradient
  double* losses;              // (N,), in float64: the caller reduces, then rounds once
  double weight;               // what each row's gradient is multiplied by: 1, or 1/N for a mean
};

void run(const Job<float>& job, int threads);
void run(const Job<double>& job, int threads);

int max_threads();                // what `threads=None` may use
const char* instruction_set();    // the clone that runs on this machine

}  // namespace chainrule
