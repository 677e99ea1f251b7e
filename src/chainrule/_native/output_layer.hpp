// The output layer: a job's rows shared among threads.
#pragma once
#include "kernels.hpp"

namespace chainrule {

// Runs the job; returns the sum of the losses, in one order whatever the threads.
template <class T>
double run(const Job<T>& job, int threads);

// Is every label in range, or ignored? Without a branch, so that the compiler vectorises it.
template <class T>
bool labels_fit(const Job<T>& job) {
  bool wrong = false;
  for (std::size_t row = 0; row < job.n; ++row)
    wrong |= (static_cast<std::uint64_t>(job.labels[row]) >= job.k) & !(job.ignores & (job.labels[row] == job.ignored));
  return !wrong;
}

// The caller has checked them.
constexpr const char* labels_changed = "labels: out of range; another thread changed them after they were checked";

int max_threads();  // what `threads=None` may use: at most what was set
int within_limit(int threads);
void limit_threads(int threads);

}  // namespace chainrule
