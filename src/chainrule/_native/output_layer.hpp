// The output layer: a job's rows shared among threads.
#pragma once
#include "kernels.hpp"

namespace chainrule {

// Runs the job; returns the sum of the losses, in one order whatever the threads.
template <class T>
double run(const Job<T>& job, int threads);

int max_threads();  // what `threads=None` may use: at most what was set
void limit_threads(int threads);

}  // namespace chainrule
