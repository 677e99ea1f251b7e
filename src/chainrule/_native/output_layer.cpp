// Runs a job: picks the way (tiles.hpp for few classes, rows.hpp otherwise) by K alone, never by N or the threads,
// shares the rows among the threads in fixed blocks, and sums the losses in one order.
#include "output_layer.hpp"

#include <memory>
#include <type_traits>

#include "tiles.hpp"

#ifdef _OPENMP
#include <omp.h>
#endif
#if defined(__unix__) || defined(__APPLE__)
#include <pthread.h>
#endif

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && defined(__gnu_linux__) && \
    !defined(CHAINRULE_NO_CLONES)
// Function multi-versioning: the loader picks the clone. Helpers are inlined into each.
#define CLONES __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#define HAS_CLONES 1
#else
#define CLONES
#endif

namespace chainrule {
namespace {

// Losses of the pending rows, and their sum. Rows after `count` are padding.
template <class T>
INLINE void finish(const Job<T>& job, std::size_t begin, std::size_t count, Pending& pending, Sum& sum) {
  const std::size_t computed = (count + lanes - 1) / lanes * lanes;
  for (std::size_t i = count; i < computed; ++i) pending.set(i, 0.0, 0.0, 0.0, 0.0);
#pragma omp simd
  for (std::size_t i = 0; i < computed; ++i)
    pending.added[i] += pending.weight[i] * (pending.linear[i] + log1p_of(pending.y[i]));
  for (std::size_t i = 0; i < count; ++i) {
    sum.add(pending.added[i]);
    if (job.losses) job.losses[begin + i] = narrow<T>(pending.added[i]);
  }
}

template <class T, class Tempering>
INLINE double some_rows(const Job<T>& job, std::size_t begin, std::size_t end, double* scratch, Tempering t) {
  if (job.output != Output::gradient) {
    for (std::size_t row = begin; row < end; ++row) softmax_row(job, row, t, scratch);
    return 0.0;
  }
  Sum sum;
  Pending pending;
  const bool tiled = job.k <= tile_classes && job.plain();
  for (; begin < end; begin += Pending::rows) {
    const std::size_t count = std::min(Pending::rows, end - begin);
    if (tiled) {
      for (std::size_t i = 0; i < count; i += tile_rows)
        gradient_tile(job, begin + i, std::min(tile_rows, count - i), t, pending, i);
    } else {
      for (std::size_t i = 0; i < count; ++i) gradient_row(job, begin + i, t, scratch, pending, i);
    }
    finish(job, begin, count, pending, sum);
  }
  fence();
  return sum.total();
}

template <class T>
INLINE double rows(const Job<T>& job, std::size_t begin, std::size_t end, double* scratch) {
  if (job.temperature == 1.0) return some_rows(job, begin, end, scratch, NoTemperature{});
  return some_rows(job, begin, end, scratch, Temperature{job.temperature, 1.0 / job.temperature});
}

// Clones must be plain functions, outside the parallel region: neither templates nor outlined loops inherit them.
CLONES double run_rows(const Job<float>& job, std::size_t begin, std::size_t end, double* scratch) {
  return rows(job, begin, end, scratch);
}
CLONES double run_rows(const Job<double>& job, std::size_t begin, std::size_t end, double* scratch) {
  return rows(job, begin, end, scratch);
}
CLONES double run_rows(const Job<bfloat16>& job, std::size_t begin, std::size_t end, double* scratch) {
  return rows(job, begin, end, scratch);
}
CLONES double run_rows(const Job<float16>& job, std::size_t begin, std::size_t end, double* scratch) {
  return rows(job, begin, end, scratch);
}

// GNU's OpenMP has no threads in a forked child and waits for them for ever: a child works alone.
bool forked = false;
#if defined(__unix__) || defined(__APPLE__)
const int registered = pthread_atfork(nullptr, nullptr, [] { forked = true; });
#endif

}  // namespace

template <class T>
double run(const Job<T>& job, int threads) {
  if (job.n == 0) return 0.0;
  // A block's losses are summed by one thread: its size depends on K alone, and so do the sum's bits.
  const std::size_t rows_per_block = std::clamp<std::size_t>((1 << 16) / job.k / 64 * 64, job.k < 4096 ? 64 : 1, 1024);
  const std::size_t blocks = (job.n + rows_per_block - 1) / rows_per_block;
  const std::size_t few = 1 << 14;  // below this many logits a second thread costs more than it gives
  std::size_t team = job.n * job.k <= few || forked ? 1 : static_cast<std::size_t>(std::max(threads, 1));
  team = std::min(team, blocks);
  const std::size_t pitch = (job.k + block + 7) / 8 * 8;  // padding, and no cache line shared by two threads
  const std::unique_ptr<double[]> scratch(new double[team * pitch]), sums(new double[blocks]);
  const auto part = [&](std::size_t thread) {
    for (std::size_t b = blocks * thread / team; b < blocks * (thread + 1) / team; ++b)
      sums[b] = run_rows(job, b * rows_per_block, std::min(job.n, (b + 1) * rows_per_block),
                         scratch.get() + thread * pitch);
  };
#ifdef _OPENMP
  if (team > 1) {
#pragma omp parallel for num_threads(static_cast<int>(team)) schedule(static, 1)
    for (std::ptrdiff_t thread = 0; thread < static_cast<std::ptrdiff_t>(team); ++thread)
      part(static_cast<std::size_t>(thread));
  } else {
    part(0);
  }
#else
  for (std::size_t thread = 0; thread < team; ++thread) part(thread);
#endif
  Sum total;
  for (std::size_t b = 0; b < blocks; ++b) total.add(sums[b]);
  return total.total();
}

template double run(const Job<float>&, int);
template double run(const Job<double>&, int);
template double run(const Job<bfloat16>&, int);
template double run(const Job<float16>&, int);

int max_threads() {
#ifdef _OPENMP
  return forked ? 1 : omp_get_max_threads();
#else
  return 1;
#endif
}

const char* instruction_set() {
#ifdef HAS_CLONES
  __builtin_cpu_init();
  if (__builtin_cpu_supports("x86-64-v4")) return "x86-64-v4 (AVX-512)";
  if (__builtin_cpu_supports("x86-64-v3")) return "x86-64-v3 (AVX2, FMA)";
#endif
  return "baseline";
}

}  // namespace chainrule
