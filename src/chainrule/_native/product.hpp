// The matrix product, for operands that fit into the second cache, or are walked so that their parts do.
#pragma once
#include <algorithm>
#include <cstddef>
#include <memory>

#include "team.hpp"

namespace chainrule {

// C = A B, C = A B + bias, or C += A B, with A (m, k) and B (k, n) of any strides, C (m, n) by rows.
template <class T>
struct Product {
  std::size_t m, n, k;
  const T* a;
  std::ptrdiff_t a_row, a_column;
  const T* b;
  std::ptrdiff_t b_row, b_column;
  T* c;
  std::ptrdiff_t c_row;
  const T* bias = nullptr;
  bool adds = false;
  T* packed = nullptr;  // room for packed_size(*this) numbers, so that a transposed A is not read a column at a time
};

constexpr std::size_t tall = 96, deep = 320;  // the part of A that is packed together: it stays in the second cache

template <class T>
std::size_t packed_size(const Product<T>& job) {
  return job.a_row == 1 && job.n > 32 ? tall * std::min(job.k, deep) : 0;
}

void multiply(const Product<float>& job);
void multiply(const Product<double>& job);

// The same by several threads, a band of rows of C at a time.
template <class T>
void multiply(const Product<T>& job, int threads) {
  const std::size_t bands = (job.m + tall - 1) / tall;
  const auto team_size = static_cast<int>(std::min<std::size_t>(static_cast<std::size_t>(std::max(threads, 1)), bands));
  const std::size_t size = packed_size(job);
  const std::unique_ptr<T[]> packed(new T[size * static_cast<std::size_t>(std::max(team_size, 1))]);
  Pace pace;
  Team team(team_size, pace);
  team.run(bands, [&](std::size_t i, std::size_t thread) {
    Product<T> band = job;
    const auto first = static_cast<std::ptrdiff_t>(i * tall);
    band.m = std::min(tall, job.m - i * tall);
    band.a += first * job.a_row, band.c += first * job.c_row;
    band.packed = packed.get() + thread * size;
    multiply(band);
  });
}

}  // namespace chainrule
