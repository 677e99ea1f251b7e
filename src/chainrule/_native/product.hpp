// The matrix product, for operands that fit into the second cache, or are walked so that their parts do.
#pragma once
#include <algorithm>
#include <cstddef>
#include <memory>

#include "kernels.hpp"
#include "pool.hpp"

namespace chainrule {

// A product by several threads, a band of C's rows or columns at a time: how it is cut decides no bit. A band of columns is
// as broad as it can be while its part of C stays in the second cache, because A is read once for each.
template <class T>
void multiply(const Product<T>& job, int threads) {
  const std::size_t wanted = static_cast<std::size_t>(std::max(threads, 1));
  const bool by_rows = job.m >= job.n;
  constexpr std::size_t whole = 128 / sizeof(T);  // columns of a tile where vectors are widest
  const std::size_t even = (job.n / wanted + whole - 1) / whole * whole;
  const std::size_t fits = (1 << 19) / sizeof(T) / std::max<std::size_t>(job.m, 1);
  const std::size_t step = by_rows ? tall : std::clamp<std::size_t>(even, whole, std::max<std::size_t>(fits / whole * whole, 64));
  const std::size_t length = by_rows ? job.m : job.n, bands = (length + step - 1) / step;
  const std::size_t team_size = std::clamp<std::size_t>(wanted, 1, std::max<std::size_t>(bands, 1));
  const std::size_t size = packed_size(job);
  const std::unique_ptr<T[]> packed(new T[size * team_size]);
  const ProductKernels<T>& kernel = kernels<ProductKernels<T>>();
  share(bands, team_size, [&](std::size_t i, std::size_t thread) {
    Product<T> band = job;
    const auto first = static_cast<std::ptrdiff_t>(i * step);
    (by_rows ? band.m : band.n) = std::min(step, length - i * step);
    if (by_rows) band.a += first * job.a_row, band.c += first * job.c_row;
    else band.b += first * job.b_column, band.c += first;
    band.packed = packed.get() + thread * size;
    kernel.multiply(band);
  });
}

}  // namespace chainrule
