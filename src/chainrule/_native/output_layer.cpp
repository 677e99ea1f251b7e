// Runs a job: shares the rows among the threads in fixed blocks, and sums the losses in one order.
#include "output_layer.hpp"

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <memory>
#include <thread>

#include "arithmetic.hpp"
#include "pool.hpp"

#ifdef __linux__
#include <sched.h>
#endif

namespace chainrule {

template <class T>
double run(const Job<T>& job, int threads) {
  if (job.n == 0) return 0.0;
  // A block's losses are summed by one thread: its size depends on K alone, and so do the sum's bits.
  const std::size_t rows_per_block = std::clamp<std::size_t>((1 << 16) / job.k / 64 * 64, job.k < 4096 ? 64 : 1, 1024);
  const std::size_t blocks = (job.n + rows_per_block - 1) / rows_per_block;
  const std::size_t few = 1 << 14;  // below this many logits a second thread costs more than it gives
  std::size_t team = job.n * job.k <= few ? 1 : static_cast<std::size_t>(std::max(threads, 1));
  team = std::min(team, blocks);
  const std::size_t pitch = (scratch_size(job.k) + 7) / 8 * 8;  // no cache line is shared by two threads
  const std::unique_ptr<double[]> scratch(new double[team * pitch]), sums(new double[blocks]);
  // A thread takes a run of blocks at a time: each row prefetches the next, which no other thread should be writing.
  const std::size_t together = std::max<std::size_t>(1, blocks / (16 * team)), runs = (blocks + together - 1) / together;
  const RowKernels<T>& rows = kernels<RowKernels<T>>();
  share(runs, team, [&](std::size_t i, std::size_t thread) {
    for (std::size_t b = i * together; b < std::min((i + 1) * together, blocks); ++b)
      sums[b] = rows.run(job, b * rows_per_block, std::min(job.n, (b + 1) * rows_per_block), scratch.get() + thread * pitch);
  });
  Sum total;
  for (std::size_t b = 0; b < blocks; ++b) total.add(sums[b]);
  return total.total();
}

template double run(const Job<float>&, int);
template double run(const Job<double>&, int);
template double run(const Job<bfloat16>&, int);
template double run(const Job<float16>&, int);

namespace {

constexpr int no_limit = 1024;
std::atomic<int> limit{no_limit};

int own_threads() {
  const char* told = std::getenv("OMP_NUM_THREADS");  // by which users limit every numerical library
  if (const int count = told ? std::atoi(told) : 0; count > 0) return count;
#ifdef __linux__
  cpu_set_t allowed;
  if (sched_getaffinity(0, sizeof allowed, &allowed) == 0) return CPU_COUNT(&allowed);
#endif
  return static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
}

}  // namespace

int within_limit(int threads) { return std::min(threads, limit.load()); }

int max_threads() { return within_limit(own_threads()); }

void limit_threads(int threads) { limit = threads < own_threads() ? std::max(threads, 1) : no_limit; }

}  // namespace chainrule
