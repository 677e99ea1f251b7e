// The logits or the probabilities of many examples, as the binding sees it.
#pragma once
#include <cstddef>
#include <vector>

#include "kernels.hpp"

namespace chainrule {

// a = x W + b, with W (inputs, units) of any strides.
template <class T>
struct Layer {
  std::size_t inputs, units;
  const T* weights;
  std::ptrdiff_t by_input, by_unit;
  const T* biases;
};

// Writes the logits of x (n, inputs), or their softmax, into `result`, by rows (n, classes).
template <class T>
void infer(const std::vector<Layer<T>>& layers, Activation activation, const Matrix<const T>& x, std::size_t n, T* result,
           bool softmax, int threads);

}  // namespace chainrule
