// Runs a job: shares the rows among the threads in fixed blocks, and sums the losses in one order.
#include "output_layer.hpp"

#include <algorithm>
#include <atomic>
#include <memory>

#ifdef _OPENMP
#include <omp.h>
#endif
#if defined(__unix__) || defined(__APPLE__)
#include <pthread.h>
#endif

namespace chainrule {
namespace {

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
  const std::size_t pitch = (job.k + block + 7) / 8 * 8;  // no cache line is shared by two threads
  const std::unique_ptr<double[]> scratch(new double[team * pitch]), sums(new double[blocks]);
  // Whoever is free takes the next run of blocks: a thread that wakes late, or shares its core, does not hold up the
  // others. A run is long, because each row prefetches the next, which no other thread should be writing then.
  const std::size_t together = std::max<std::size_t>(1, blocks / (16 * team));
  std::atomic<std::size_t> next{0};
  const auto part = [&](std::size_t thread) {
    for (std::size_t first; (first = next.fetch_add(together, std::memory_order_relaxed)) < blocks;)
      for (std::size_t b = first; b < std::min(first + together, blocks); ++b)
        sums[b] = run_rows(job, b * rows_per_block, std::min(job.n, (b + 1) * rows_per_block),
                           scratch.get() + thread * pitch);
  };
#ifdef _OPENMP
  if (team > 1) {
#pragma omp parallel num_threads(static_cast<int>(team))
    part(static_cast<std::size_t>(omp_get_thread_num()));
  } else {
    part(0);
  }
#else
  part(0);
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
#ifdef CHAINRULE_CLONES
  __builtin_cpu_init();
  if (__builtin_cpu_supports("x86-64-v4")) return "x86-64-v4 (AVX-512)";
  if (__builtin_cpu_supports("x86-64-v3")) return "x86-64-v3 (AVX2, FMA)";
#endif
  return "baseline";
}

}  // namespace chainrule
