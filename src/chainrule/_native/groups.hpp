// Many rows at once: the way of the plain gradient, and of softmax, where the classes are few.
//
// As many rows as fit a buffer take each step together, so that no row's end is waited for. A row's exponentials are
// stored in whole vectors, which reach into the next row and are overwritten by it; so are its gradients. The loss and
// the gradient are those of rows.hpp; a row whose sums overflow is left to it, and one that is ignored.
// Bytes moved: as in rows.hpp, 2 N K sizeof(T); the buffers, 16 KiB in float32, stay in the first cache.
#pragma once
#include "rows.hpp"

namespace chainrule {
inline namespace SET {

constexpr std::size_t group_logits = 1024;  // in a group's buffers

// Wider rows fill the vectors by themselves; and float64's sums, which keep no losses here, stay short.
template <class T>
constexpr std::size_t group_classes = sizeof(T) == 8 ? 64 : 512;

// How many rows make a group.
INLINE std::size_t group_rows(std::size_t k) { return std::min(Pending::rows, group_logits / k); }

// The sum of k numbers, in an order that depends on k alone; what follows them is read and not counted.
INLINE double sum_of(const double* x, std::size_t k) {
  if (k < lanes) {  // one after another, while other rows' sums go on beside it
    double total = 0.0;
    for (std::size_t j = 0; j < k; ++j) total += x[j];
    return total;
  }
  alignas(64) double sums[lanes] = {};
  std::size_t v = 0;
  for (; v + lanes <= k; v += lanes)
#pragma omp simd
    for (std::size_t l = 0; l < lanes; ++l) sums[l] += x[v + l];
  const auto left = static_cast<std::int64_t>(k - v);
#pragma omp simd
  for (std::int64_t l = 0; l < static_cast<std::int64_t>(lanes); ++l)
    sums[l] += l < left ? x[v + static_cast<std::size_t>(l)] : 0.0;
  fold(sums);
  return sums[0];
}

// Is a matrix one run of numbers?
template <class T>
INLINE bool flat(const Matrix<T>& matrix, std::size_t k) {
  return matrix.column_stride == 1 && matrix.row_stride == static_cast<std::ptrdiff_t>(k);
}

// The group's logits as one run that may be read for `lanes` more: the caller's own memory where it can be.
template <class T>
INLINE const Wide<T>* run_of(const Job<T>& job, std::size_t begin, std::size_t count, Wide<T>* buffer) {
  const std::size_t k = job.k;
  if (flat(job.logits, k)) {
    const T* from = row_of(job.logits, begin);
    if constexpr (std::is_same_v<T, Wide<T>>)
      if ((begin + count) * k + lanes <= job.n * k) return from;
#pragma omp simd
    for (std::size_t i = 0; i < count * k; ++i) buffer[i] = widen(from[i]);
  } else {
    for (std::size_t r = 0; r < count; ++r)
      for (std::size_t j = 0; j < k; ++j) buffer[r * k + j] = widen(element(job.logits, begin + r, j));
  }
  for (std::size_t l = 0; l < lanes; ++l) buffer[count * k + l] = 0;
  return buffer;
}

// What a group's rows share: their logits as one run, what is subtracted from each row's before exp, the exponentials, and
// the results before they are copied to where they belong.
template <class T>
struct Group {
  using C = Wide<T>;
  static constexpr std::size_t size = group_logits + lanes;
  std::size_t k, count;
  alignas(64) double top[Pending::rows], factor[Pending::rows], e[size], tops[size];
  alignas(64) T result[size];
  alignas(64) C buffer[size];
  const C* a;

  INLINE Group(const Job<T>& job, std::size_t begin, std::size_t count_)
      : k(job.k), count(count_), a(run_of(job, begin, count_, buffer)) {}

  INLINE double largest(std::size_t r) const {
    if (k >= lanes) {
      Reader<C> row{a + r * k, 1, k};
      return static_cast<double>(maximum(row));
    }
    C most = -std::numeric_limits<C>::infinity();  // one after another, while other rows go on beside it
    for (std::size_t j = 0; j < k; ++j) most = a[r * k + j] > most ? a[r * k + j] : most;
    return static_cast<double>(most);
  }

  template <class Tempering>
  INLINE void exponentials(Tempering t) {
    if (stays_within(Enough<T>{}, a, 0.0, count * k, t, 0.5)) each_row<true>(t);
    else each_row<false>(t);
  }

  // locals: with members the compiler would look again after every store whether they have changed
  template <bool within, class Tempering>
  INLINE void each_row(Tempering t) {
    const std::size_t k = this->k, count = this->count;
    const C* const a = this->a;
    double *const e = this->e, *const tops = this->tops;
    const std::size_t whole = (k + lanes - 1) / lanes * lanes, run = (count * k + lanes - 1) / lanes * lanes;
    if (k < 64 && k % lanes != 0) {
      // Narrow rows would leave much of their last vector unused: all are one run, each logit beside its row's top.
      for (std::size_t r = 0; r < count; ++r)
        for (std::size_t v = r * k; v < r * k + whole; v += lanes)
#pragma omp simd
          for (std::size_t l = 0; l < lanes; ++l) tops[v + l] = top[r];
      for (std::size_t l = 0; l < lanes; ++l) tops[count * k + l] = 0.0;
      for (std::size_t v = 0; v < run; v += lanes) {
        PREFETCH(a + run + v);
        exps_of_differences<within, lanes>(Enough<T>{}, a + v, [=](std::size_t l) { return tops[v + l]; }, t, e + v);
      }
      return;
    }
    for (std::size_t r = 0; r < count; ++r) {
      for (std::size_t j = 0; j < k; j += 64 / sizeof(C)) PREFETCH(a + (count + r) * k + j);  // the next group's
      some_exponentials<within>(Enough<T>{}, a + r * k, top[r], whole, t, e + r * k);
    }
  }

  // result = factor e, row by row
  INLINE void scale() {
    const std::size_t k = this->k, count = this->count;
    const double *const e = this->e, *const factor = this->factor;
    T* const result = this->result;
    for (std::size_t r = 0; r < count; ++r)
      for (std::size_t v = r * k; v < r * k + k; v += lanes)
#pragma omp simd
        for (std::size_t l = 0; l < lanes; ++l) result[v + l] = narrow<T>(e[v + l] * factor[r]);
  }
};

template <class T, class Tempering>
INLINE void gradient_group(const Job<T>& job, std::size_t begin, std::size_t count, Tempering t, double* scratch,
                          Pending& pending, std::size_t first) {
  Group<T> group(job, begin, count);
  const std::size_t k = job.k;
  double *const e = group.e, *const top = group.top, *const factor = group.factor;
  const Wide<T>* const a = group.a;
  std::size_t label[Pending::rows];
  alignas(64) double others[Pending::rows], pivot[Pending::rows], weight[Pending::rows], a_label[Pending::rows];
  bool left[Pending::rows], any_left = false;  // to plain_row

  for (std::size_t r = 0; r < count; ++r) {
    left[r] = is_ignored(job, begin + r);
    const std::size_t l = left[r] ? 0 : label_of(job, begin + r);
    label[r] = r * k + l;
    weight[r] = job.class_weights ? job.class_weights[l] : 1.0;
    a_label[r] = static_cast<double>(a[label[r]]);
    top[r] = anchored<T> ? a_label[r] : group.largest(r);
  }
  group.exponentials(t);

  for (std::size_t r = 0; r < count; ++r) pivot[r] = e[label[r]], e[label[r]] = 0.0;
  for (std::size_t r = 0; r < count; ++r) others[r] = sum_of(e + r * k, k);
  const double per_logit = over(job.scale, t);
#pragma omp simd
  for (std::size_t r = 0; r < count; ++r) {
    const Sums s{{others[r], pivot[r]}, top[r], a_label[r], t};
    factor[r] = weight[r] * per_logit * s.inverse;
    pending.set(first + r, s.shift, s.y, weight[r], 0.0);
  }
  for (std::size_t r = 0; r < count; ++r) {
    e[label[r]] = 0.0 - others[r];
    left[r] |= anchored<T> && !(others[r] < overflowing);
    any_left |= left[r];
  }
  group.scale();
  if (flat(job.result, k) && !any_left) {
    std::memcpy(row_of(job.result, begin), group.result, count * k * sizeof(T));
    return;
  }
  for (std::size_t r = 0; r < count; ++r) {
    if (left[r]) plain_row(job, begin + r, t, scratch, pending, first + r);
    else
      for (std::size_t j = 0; j < k; ++j) element(job.result, begin + r, j) = group.result[r * k + j];
  }
}

template <class T>
APART void softmax_group(const Job<T>& job, std::size_t begin, std::size_t count) {
  Group<T> group(job, begin, count);
  const std::size_t k = job.k;
  for (std::size_t r = 0; r < count; ++r) group.top[r] = group.largest(r);
  group.exponentials(NoTemperature{});
  for (std::size_t r = 0; r < count; ++r) group.factor[r] = sum_of(group.e + r * k, k);
#pragma omp simd
  for (std::size_t r = 0; r < count; ++r) group.factor[r] = 1.0 / group.factor[r];
  group.scale();
  if (flat(job.result, k)) {
    std::memcpy(row_of(job.result, begin), group.result, count * k * sizeof(T));
    return;
  }
  for (std::size_t r = 0; r < count; ++r)
    for (std::size_t j = 0; j < k; ++j) element(job.result, begin + r, j) = group.result[r * k + j];
}

}  // namespace SET
}  // namespace chainrule
