// Sums side by side, a lane for each place in a vector, in an order that depends on how many numbers there are and on
// nothing else.
#pragma once
#include "arithmetic.hpp"

namespace chainrule {
inline namespace SET {

constexpr std::size_t lanes = 16;   // loops run over multiples of this: a row's end is padded

// Adds sixteen numbers by halves, which does not wait for one addition after another; leaves the sum in the first.
template <std::size_t half = lanes / 2>
INLINE void fold(double* x) {
#pragma omp simd
  for (std::size_t l = 0; l < half; ++l) x[l] += x[l + half];
  if constexpr (half > 1) fold<half / 2>(x);
}

// Such sums side by side, which are added together once, at a row's end.
template <std::size_t width = lanes>
struct LaneSums {
  alignas(64) double value[width] = {}, lost[width] = {};
  INLINE void add(const double* x) {
#pragma omp simd
    for (std::size_t l = 0; l < width; ++l) add_to(value[l], lost[l], x[l]);
  }
  INLINE double total() {
    fold<width / 2>(value), fold<width / 2>(lost);
    return value[0] - value[0] == 0.0 ? value[0] + lost[0] : value[0];
  }
};

// Sums of a few numbers, two in each place of a vector: so they stay in registers beside what is summed.
struct FewSums {
  static constexpr std::size_t width = lanes / 2;
  alignas(64) double value[width] = {};
  INLINE void add(const double* x) {
#pragma omp simd
    for (std::size_t l = 0; l < width; ++l) value[l] += x[l] + x[l + width];
  }
};

// Sums of one vector's numbers, but for the first few and for the one at `place`.
INLINE FewSums sums_after(std::size_t few, std::size_t place, const double* x) {
  FewSums sums;
  alignas(64) double others[lanes];
  const auto first = static_cast<std::int64_t>(few), left_out = static_cast<std::int64_t>(place);
#pragma omp simd
  for (std::int64_t l = 0; l < static_cast<std::int64_t>(lanes); ++l)
    others[l] = l < first || l == left_out ? 0.0 : x[l];
  sums.add(others);
  return sums;
}

// Sums of `count` numbers, a multiple of `lanes`, without one of them. It is masked and not overwritten by 0: a vector
// waits until a number that was stored into it has reached the cache.
INLINE FewSums sums_without(std::size_t place, const double* x, std::size_t count) {
  const std::size_t v = place / lanes * lanes;
  FewSums sums = sums_after(0, place - v, x + v);
  for (std::size_t before = 0; before < v; before += lanes) sums.add(x + before);
  for (std::size_t after = v + lanes; after < count; after += lanes) sums.add(x + after);
  return sums;
}

}  // namespace SET
}  // namespace chainrule
