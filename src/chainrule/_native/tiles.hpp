// Many rows at once: the way of the plain gradient where the classes are few.
//
// Sixteen rows are transposed into a scratch tile, tile[j][r], and every step of rows.hpp is taken for the sixteen
// side by side; what a label singles out is selected, not branched on. A last tile that is not full repeats its
// last row, so that a row's result has the same bits wherever the batch is split.
// Bytes moved: as in rows.hpp, 2 N K sizeof(T); the tile, 128 K bytes, stays in the first cache.
#pragma once
#include "rows.hpp"

namespace chainrule {

constexpr std::size_t tile_rows = 16, tile_classes = 48;  // wider rows fill the vectors by themselves

template <class T, class Tempering>
INLINE void gradient_tile(const Job<T>& job, std::size_t begin, std::size_t count, Tempering t, Pending& pending,
                          std::size_t first) {
  using C = Wide<T>;
  constexpr std::size_t R = tile_rows;
  const std::size_t k = job.k;
  alignas(64) C a[tile_classes * R];
  alignas(64) double e[tile_classes * R];
  alignas(64) std::int64_t label[R];
  alignas(64) C m[R], a_label[R];
  alignas(64) double others[R] = {}, e_label[R] = {}, weight[R], factor[R];
  for (std::size_t r = 0; r < R; ++r) {
    const std::size_t row = begin + std::min(r, count - 1);
    const T* from = row_of(job.logits, row);
    for (std::size_t j = 0; j < k; ++j) a[j * R + r] = widen(from[static_cast<std::ptrdiff_t>(j) * job.logits.column_stride]);
    const bool ignored = job.ignores && job.labels[row] == job.ignored;
    label[r] = ignored ? 0 : job.labels[row];
    weight[r] = ignored ? 0.0 : (job.class_weights ? job.class_weights[label[r]] : 1.0);
    a_label[r] = a[static_cast<std::size_t>(label[r]) * R + r];
    m[r] = a[r];
  }
  for (std::size_t j = 0; j < k; ++j)
#pragma omp simd
    for (std::size_t r = 0; r < R; ++r) m[r] = a[j * R + r] > m[r] ? a[j * R + r] : m[r];
  for (std::size_t j = 0; j < k; ++j)
#pragma omp simd
    for (std::size_t r = 0; r < R; ++r) {
      const double value = exp_of_difference(a[j * R + r], m[r], t);
      const bool here = label[r] == static_cast<std::int64_t>(j);
      e[j * R + r] = value;
      others[r] += here ? 0.0 : value;
      e_label[r] = here ? value : e_label[r];
    }
  const double per_logit = over(job.scale, t);
#pragma omp simd
  for (std::size_t r = 0; r < R; ++r) {
    const double sum = others[r] + e_label[r], top = static_cast<double>(m[r]), at_label = static_cast<double>(a_label[r]);
    factor[r] = weight[r] * per_logit * (1.0 / sum);
    pending.linear[first + r] = at_label == top ? e_label[r] - e_label[r] : over(top - at_label, t);
    pending.y[first + r] = at_label == top ? others[r] : sum - 1.0;
    pending.weight[first + r] = weight[r];
    pending.added[first + r] = 0.0;
  }
  for (std::size_t j = 0; j < k; ++j)
#pragma omp simd
    for (std::size_t r = 0; r < R; ++r) {
      const bool here = label[r] == static_cast<std::int64_t>(j);
      e[j * R + r] = (here ? 0.0 - others[r] : e[j * R + r]) * factor[r];
    }
  for (std::size_t r = 0; r < count; ++r) {
    T* to = row_of(job.result, begin + r);
    const std::ptrdiff_t step = job.result.column_stride;
    if (job.ignores && job.labels[begin + r] == job.ignored) {  // zero also where the logits are not numbers
      for (std::size_t j = 0; j < k; ++j) to[static_cast<std::ptrdiff_t>(j) * step] = narrow<T>(0.0);
      pending.set(first + r, 0.0, 0.0, 0.0, 0.0);
    } else {
      for (std::size_t j = 0; j < k; ++j) to[static_cast<std::ptrdiff_t>(j) * step] = narrow<T>(e[j * R + r]);
    }
  }
}

}  // namespace chainrule
