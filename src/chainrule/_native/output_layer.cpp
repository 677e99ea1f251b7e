// Softmax, cross entropy and their gradient, a row at a time.
//
// For a row a with maximum m and label l, the exponentials of the others are summed apart:
//     s_o = sum over j != l of exp(a_j - m),      S = s_o + exp(a_l - m)
//     loss   = log1p(s_o) where a_l = m, else (m - a_l) + log S      both terms >= 0: nothing cancels
//     grad_j = exp(a_j - m) / S,   grad_l = -s_o / S                 never softmax - 1
// float32 works in float64 and rounds once. float64 keeps the rounding error of a_j - m and feeds it back
// into the exponential. The row's exponentials stay in a float64 scratch row, in cache between the passes.
// Bytes moved: each logit is read from memory once and each gradient written once, 2 N K sizeof(T) in all;
// the scratch is threads * K * 8 bytes. Every sum has one order, whatever the threads or the batch.
#include "output_layer.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <memory>

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
#if defined(__GNUC__)
#define INLINE inline __attribute__((always_inline))
#else
#define INLINE inline
#endif

namespace chainrule {
namespace {

constexpr double log2e = 1.4426950408889634, ln2 = 0.6931471805599453;
constexpr double ln2_high = 0x1.62e42fefa0000p-1, ln2_low = 0x1.cf79abc9e3b3ap-40;
constexpr double round_shift = 0x1.8p52;  // adding it rounds to an integer, which then sits in the low bits

// 2^k for the integer that `shifted` = k + round_shift holds; `offset` is added to k.
INLINE double power_of_two(double shifted, std::int64_t offset) {
  std::int64_t bits;
  std::memcpy(&bits, &shifted, sizeof bits);
  bits = static_cast<std::int64_t>(static_cast<std::uint64_t>(bits + 1023 + offset) << 52);
  double power;
  std::memcpy(&power, &bits, sizeof power);
  return power;
}

// exp(a - m) for float32 logits: a - m is exact enough in float64, and 2^-34 of relative error is far below
// half an ULP of float32. The polynomial has the least relative error on |r| <= ln(2)/2 (Remez, 4.0e-11).
INLINE double exp_of_difference(float a, float m) {
  double x = static_cast<double>(a) - static_cast<double>(m);
  x = x < -708.0 ? -708.0 : x;  // below float32's range by far; NaN passes through
  const double shifted = x * log2e + round_shift;
  const double r = x - (shifted - round_shift) * ln2;
  double p = 0x1.9eb726c71680cp-13;
  p = p * r + 0x1.6da4ac7ac6b53p-10;
  p = p * r + 0x1.1112fa2a3035fp-7;
  p = p * r + 0x1.55546871a0af4p-5;
  p = p * r + 0x1.555553440456cp-3;
  p = p * r + 0x1.00000059cbbebp-1;
  p = p * r + 0x1.000000010b490p+0;
  p = p * r + 0x1.ffffffffabbcep-1;
  return p * power_of_two(shifted, 0);
}

// exp(a - m) for float64 logits. `error` is what a - m lost to rounding (TwoDiff; Knuth, TAOCP vol. 2, 4.2.2);
// it joins the reduced argument. The polynomial is Taylor's to degree 13: 4e-18 relative at |r| = ln(2)/2.
INLINE double exp_of_difference(double a, double m) {
  const double x = a - m, b = x - a;
  double error = (a - (x - b)) - (m + b);
  const bool below = x < -746.0;  // exp rounds to 0 there; -inf - m has no finite error either
  const double y = below ? -746.0 : x;
  error = below ? 0.0 : error;
  const double shifted = y * log2e + round_shift;
  const double k = shifted - round_shift;
  const double r = ((y - k * ln2_high) - k * ln2_low) + error;
  double p = 1.0 / 6227020800.0;
  p = p * r + 1.0 / 479001600.0;
  p = p * r + 1.0 / 39916800.0;
  p = p * r + 1.0 / 3628800.0;
  p = p * r + 1.0 / 362880.0;
  p = p * r + 1.0 / 40320.0;
  p = p * r + 1.0 / 5040.0;
  p = p * r + 1.0 / 720.0;
  p = p * r + 1.0 / 120.0;
  p = p * r + 1.0 / 24.0;
  p = p * r + 1.0 / 6.0;
  p = p * r + 0.5;
  p = p * r + 1.0;
  p = p * r + 1.0;
  // 2^k in two factors, so that a subnormal result is rounded once and not flushed
  return below ? 0.0 : p * power_of_two(shifted, 600) * 0x1p-600;
}

template <class T>
INLINE T row_maximum(const T* a, std::size_t k) {
  T m = -std::numeric_limits<T>::infinity();
#pragma omp simd reduction(max : m)
  for (std::size_t j = 0; j < k; ++j) m = a[j] > m ? a[j] : m;
  return m;
}

// Stores exp(a_j - m) for j in [begin, end) and returns their sum.
template <class T>
INLINE double exponentials(const T* a, T m, double* e, std::size_t begin, std::size_t end) {
  double sum = 0.0;
#pragma omp simd reduction(+ : sum)
  for (std::size_t j = begin; j < end; ++j) {
    const double value = exp_of_difference(a[j], m);
    e[j] = value;
    sum += value;
  }
  return sum;
}

template <class T>
INLINE void scale_into(T* result, const double* e, std::size_t k, double scale) {
#pragma omp simd
  for (std::size_t j = 0; j < k; ++j) result[j] = static_cast<T>(e[j] * scale);
}

template <class T>
INLINE void gradient_row(const Job<T>& job, std::size_t row, double* e) {
  const T* a = job.logits.data + static_cast<std::ptrdiff_t>(row) * job.logits.stride;
  T* g = job.result.data + static_cast<std::ptrdiff_t>(row) * job.result.stride;
  const std::size_t k = job.k, label = static_cast<std::size_t>(job.labels[row]);
  const T m = row_maximum(a, k), a_label = a[label];
  const double others = exponentials(a, m, e, 0, label) + exponentials(a, m, e, label + 1, k);
  const double e_label = exp_of_difference(a_label, m);
  const double sum = others + e_label;
  e[label] = 0.0;
  // m is the largest number; NaN fails the comparison and reaches the loss through `sum`
  job.losses[row] = a_label == m ? std::log1p(others) + (e_label - e_label)
                                 : (static_cast<double>(m) - static_cast<double>(a_label)) + std::log(sum);
  scale_into(g, e, k, job.weight / sum);
  // 0 - x and + 0 keep -0 out, also where the rounding to T underflows
  g[label] = static_cast<T>(0.0 - others * job.weight / sum) + T(0);
}

template <class T>
INLINE void softmax_row(const Job<T>& job, std::size_t row, double* e) {
  const T* a = job.logits.data + static_cast<std::ptrdiff_t>(row) * job.logits.stride;
  T* p = job.result.data + static_cast<std::ptrdiff_t>(row) * job.result.stride;
  const T m = row_maximum(a, job.k);
  if (job.output == Output::softmax) {
    const double sum = exponentials(a, m, e, 0, job.k);
    scale_into(p, e, job.k, 1.0 / sum);
    return;
  }
  // log softmax of a_j is (a_j - m) - log1p(sum of all but one largest): both terms <= 0
  std::size_t largest = 0;
  while (largest + 1 < job.k && !(a[largest] == m)) ++largest;
  const double others = exponentials(a, m, e, 0, largest) + exponentials(a, m, e, largest + 1, job.k);
  const double not_a_number = 0.0 * exp_of_difference(a[largest], m);  // 0, or NaN where a - m is
  const double log_sum = std::log1p(others) + not_a_number;
  for (std::size_t j = 0; j < job.k; ++j)
    p[j] = static_cast<T>((static_cast<double>(a[j]) - static_cast<double>(m)) - log_sum) + T(0);
}

template <class T>
INLINE void rows(const Job<T>& job, std::size_t begin, std::size_t end, double* scratch) {
  if (job.output == Output::gradient) {
    for (std::size_t row = begin; row < end; ++row) gradient_row(job, row, scratch);
  } else {
    for (std::size_t row = begin; row < end; ++row) softmax_row(job, row, scratch);
  }
}

// Clones must be plain functions, outside the parallel region: neither templates nor outlined loops inherit them.
CLONES void run_rows(const Job<float>& job, std::size_t begin, std::size_t end, double* scratch) {
  rows(job, begin, end, scratch);
}
CLONES void run_rows(const Job<double>& job, std::size_t begin, std::size_t end, double* scratch) {
  rows(job, begin, end, scratch);
}

// GNU's OpenMP has no threads in a forked child and waits for them for ever: a child works alone.
bool forked = false;
#if defined(__unix__) || defined(__APPLE__)
const int registered = pthread_atfork(nullptr, nullptr, [] { forked = true; });
#endif

template <class T>
void run_parallel(const Job<T>& job, int threads) {
  if (job.n == 0) return;
  const std::size_t few = 1 << 14;  // below this many logits a second thread costs more than it gives
  std::size_t team = job.n * job.k <= few ? 1 : static_cast<std::size_t>(std::max(threads, 1));
  team = forked ? 1 : std::min(team, job.n);
  const std::size_t pitch = (job.k + 15) / 8 * 8;  // a cache line between two threads' rows
  const std::unique_ptr<double[]> scratch(new double[team * pitch]);
#ifdef _OPENMP
  if (team > 1) {
#pragma omp parallel for num_threads(static_cast<int>(team)) schedule(static, 1)
    for (std::ptrdiff_t part = 0; part < static_cast<std::ptrdiff_t>(team); ++part) {
      const std::size_t t = static_cast<std::size_t>(part);
      run_rows(job, job.n * t / team, job.n * (t + 1) / team, scratch.get() + t * pitch);
    }
    return;
  }
#endif
  run_rows(job, 0, job.n, scratch.get());
}

}  // namespace

void run(const Job<float>& job, int threads) { run_parallel(job, threads); }
void run(const Job<double>& job, int threads) { run_parallel(job, threads); }

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
