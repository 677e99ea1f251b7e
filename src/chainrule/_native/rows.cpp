// The rows of one FORMAT in one instruction SET: CMake compiles this file once for each pair, side by side. Few classes go by groups.hpp and the rest by rows.hpp, which K alone decides, never N or the
// threads; bytes moved: 2 N K sizeof(T), as told there.
#include "groups.hpp"
#include "labels.hpp"

namespace chainrule {
inline namespace SET {
namespace {

// Losses of the pending rows, and their sum. Rows after `count` are padding.
template <class T>
INLINE void finish(const Job<T>& job, std::size_t begin, std::size_t count, Pending& pending, LaneSums<>& sum) {
  const std::size_t computed = (count + lanes - 1) / lanes * lanes;
  for (std::size_t i = count; i < computed; ++i) pending.set(i, 0.0, 0.0, 0.0, 0.0);
#pragma omp simd
  for (std::size_t i = 0; i < computed; ++i)
    pending.added[i] += pending.weight[i] * (pending.linear[i] + log1p_of(pending.y[i]));
  for (std::size_t i = 0; i < computed; i += lanes) sum.add(pending.added + i);
  if (job.losses)
    for (std::size_t i = 0; i < count; ++i) put(job.losses, begin + i, pending.added[i]);
}

template <class T, class Tempering>
INLINE double some_rows(const Job<T>& job, std::size_t begin, std::size_t end, double* scratch, Tempering t) {
  if (job.output == Output::softmax && job.k <= group_classes<T>) {
    for (const std::size_t together = group_rows(job.k); begin < end; begin += together)
      softmax_group(job, begin, std::min(together, end - begin));
    return 0.0;
  }
  if (job.output != Output::gradient) {
    for (std::size_t row = begin; row < end; ++row) softmax_row(job, row, scratch);
    return 0.0;
  }
  LaneSums<> sum;
  Pending pending;
  const bool grouped = job.k <= group_classes<T> && plain(job);
  if (!plain(job)) {
    for (std::size_t j = 0; j < job.k; ++j) scratch[j] = job.class_weights ? job.class_weights[j] : 1.0;
    for (std::size_t l = 0; l < lanes; ++l) scratch[job.k + l] = 0.0;
  }
  for (; begin < end; begin += Pending::rows) {
    const std::size_t count = std::min(Pending::rows, end - begin);
    if (grouped) {
      const std::size_t together = group_rows(job.k);
      for (std::size_t i = 0; i < count; i += together)
        gradient_group(job, begin + i, std::min(together, count - i), t, scratch, pending, i);
    } else {
      for (std::size_t i = 0; i < count; ++i)
        if (plain(job)) plain_row(job, begin + i, t, scratch, pending, i);
        else if (!labelled(job) || !label_row(job, begin + i, scratch, pending, i))
          gradient_row(job, begin + i, scratch, pending, i);
    }
    finish(job, begin, count, pending, sum);
  }
  fence();
  return sum.total();
}

template <class T>
double rows(const Job<T>& job, std::size_t begin, std::size_t end, double* scratch) {
  if (job.temperature == job.multiplier) return some_rows(job, begin, end, scratch, NoTemperature{});
  return some_rows(job, begin, end, scratch, Temperature(job.temperature, job.multiplier));
}

}  // namespace

void fill(RowKernels<FORMAT>& table) { table = {rows<FORMAT>}; }

}  // namespace SET
}  // namespace chainrule
