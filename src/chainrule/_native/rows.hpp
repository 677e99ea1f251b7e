// One row after another: the way of wide rows, of every option, and of everything but the plain gradient.
//
// For a row a with maximum m and a pivot (the label, or the largest class where there is no label), the
// exponentials of the others are summed apart:
//     s_o = sum over j != pivot of exp((a_j - m)/T),      S = s_o + exp((a_pivot - m)/T)
//     loss   = (m - a_label)/T + log S, with log S = log1p(s_o) where a_pivot = m     terms >= 0: nothing cancels
//     grad_j = exp((a_j - m)/T) / S,   grad_label = -s_o / S                          never softmax - 1
// What options there are else is in options.cpp.
// The row's exponentials stay in a float64 scratch row, in cache between the passes. Bytes moved: each logit is
// read from memory once and each gradient written once, 2 N K sizeof(T); the scratch is 8 K for each thread.
#pragma once
#include <algorithm>

#include "options.hpp"
#include "sums.hpp"

namespace chainrule {
inline namespace SET {

template <class T>
INLINE bool wants_extras(const Job<T>& job) {
  return job.probabilities.data || job.logsumexp || job.log_likelihood || job.entropy || job.prediction || job.correct;
}
// Is the gradient so large that the caches cannot keep it, and written where nothing is read?
template <class T>
INLINE bool streams(const Job<T>& job) {
  return job.result.data != job.logits.data && job.result.column_stride == 1 && job.k >= 512 &&
         job.n * job.k * sizeof(T) > (32u << 20);
}
// Neither smoothing, targets, a z-loss nor a cap: the gradient is that of one label, times a weight.
template <class T>
INLINE bool plain(const Job<T>& job) {
  return job.labels && job.label_smoothing == 0.0 && job.z_loss == 0.0 && job.softcap == 0.0 && !wants_extras(job);
}

template <class T>
INLINE void put(const Column<T>& column, std::size_t row, double value) {
  if (column.own) column.own[row] = narrow<T>(value);
  if (column.wide) column.wide[row] = narrow<float>(value);
}

template <class T>
using Wide = decltype(widen(T{}));
template <class T>
using Enough = std::conditional_t<sizeof(T) == 8, Float64, Float32>;

// A row is walked in blocks of 256, one of what is left of whole vectors, and last a vector that ends with the row:
// it overlaps what is done already, and `repeated` counts those. A row shorter than a vector is padded.
struct Span {
  std::size_t begin, vectors, repeated, next;
  // a multiple of `lanes` that the compiler can see, so that its loops need no remainder
  INLINE std::size_t length() const { return vectors * lanes; }
};
INLINE Span span_at(std::size_t begin, std::size_t k) {
  const std::size_t left = k - begin, vectors = std::min(left, block) / lanes;
  if (vectors) return {begin, vectors, 0, begin + vectors * lanes};
  return k >= lanes ? Span{k - lanes, 1, lanes - left, k} : Span{0, 1, 0, k};
}

// A row of logits, read in blocks: the caller's own memory where it can be, else a widened copy, padded with -inf.
template <class T>
struct Reader {
  using C = Wide<T>;
  const T* row;
  std::ptrdiff_t step;
  std::size_t k;
  alignas(64) C buffer[block];

  // the buffer stays as it is: setting it to zero for each row would cost as much as its exponentials
  INLINE Reader(const T* row_, std::ptrdiff_t step_, std::size_t k_) : row(row_), step(step_), k(k_) {}

  INLINE C at(std::size_t j) const { return widen(row[static_cast<std::ptrdiff_t>(j) * step]); }

  INLINE const C* load(const Span& span) {
    if (span.begin + span.length() > k) {
      for (std::size_t j = 0; j < lanes; ++j) buffer[j] = j < k ? at(j) : -std::numeric_limits<C>::infinity();
      return buffer;
    }
    if constexpr (std::is_same_v<C, T>)
      if (step == 1) return row + span.begin;
    if (step == 1) {
#pragma omp simd
      for (std::size_t j = 0; j < span.length(); ++j) buffer[j] = widen(row[span.begin + j]);
    } else {
      for (std::size_t j = 0; j < span.length(); ++j) buffer[j] = at(span.begin + j);
    }
    return buffer;
  }
};

// The largest of some numbers, a lane for each place in a vector. Not a reduction of OpenMP's: whether that begins with
// -inf or with the least finite number is the compiler's choice, and the largest of a row of -inf is -inf. NaN is passed by.
template <class C>
struct Largest {
  alignas(64) C value[lanes];
  INLINE explicit Largest(C least) {
    for (std::size_t l = 0; l < lanes; ++l) value[l] = least;
  }
  template <class Value>
  INLINE void add(std::size_t count, Value x) {
    std::size_t v = 0;
    for (; v + lanes <= count; v += lanes)
#pragma omp simd
      for (std::size_t l = 0; l < lanes; ++l) value[l] = x(v + l) > value[l] ? x(v + l) : value[l];
    for (; v < count; ++v) value[0] = x(v) > value[0] ? x(v) : value[0];
  }
  template <std::size_t half = lanes / 2>
  INLINE C total() {
#pragma omp simd
    for (std::size_t l = 0; l < half; ++l) value[l] = value[l + half] > value[l] ? value[l + half] : value[l];
    if constexpr (half > 1) return total<half / 2>();
    return value[0];
  }
};

template <class T>
INLINE Wide<T> maximum(Reader<T>& a) {
  Largest<Wide<T>> largest(-std::numeric_limits<Wide<T>>::infinity());
  for (std::size_t begin = 0; begin < a.k;) {
    const Span span = span_at(begin, a.k);
    begin = span.next;
    const Wide<T>* x = a.load(span);
    largest.add(span.length(), [=](std::size_t j) { return x[j]; });
  }
  return largest.total();
}

struct Exponentials {
  double others, pivot;
};

// Can (x_j - m)/T leave exp's bounds, or a share of them, for any of `count` logits? The bounds are far, so rounding
// does not matter; an infinity does leave them, NaN does not.
template <class C, class Tempering>
INLINE bool stays_within(Float32, const C* x, double m, std::size_t count, Tempering t, double share = 1.0) {
  const C center = static_cast<C>(m);
  Largest<C> farthest(0);
  farthest.add(count, [=](std::size_t j) { return std::fabs(x[j] - center); });
  return over(static_cast<double>(farthest.total()), t) < 0.99 * share * highest_argument;
}
template <class C, class Tempering>
INLINE bool stays_within(Float64, const C*, double, std::size_t, Tempering, double = 1.0) {
  return true;  // its exp minds its own bounds
}

// Stores exp((x_j - m)/T) for `count` logits, a multiple of `lanes`, and returns sums of them.
template <bool within, class C, class Tempering>
INLINE FewSums some_exponentials(Float32 as, const C* x, double m, std::size_t count, Tempering t, double* out) {
  FewSums sums;
  for (std::size_t v = 0; v < count; v += lanes) {
    exps_of_differences<within, lanes>(as, x + v, [=](std::size_t) { return m; }, t, out + v);
    sums.add(out + v);
  }
  return sums;
}
template <bool within, class C, class Tempering>
INLINE FewSums some_exponentials(Float64 as, const C* x, double m, std::size_t count, Tempering t, double* out) {
  FewSums sums;
  for (std::size_t v = 0; v < count; v += lanes)
#pragma omp simd
    for (std::size_t l = 0; l < FewSums::width; ++l) {
      const std::size_t i = v + l, j = i + FewSums::width;
      out[i] = exp_of_difference<within>(as, static_cast<double>(x[i]), m, t);
      out[j] = exp_of_difference<within>(as, static_cast<double>(x[j]), m, t);
      sums.value[l] += out[i] + out[j];
    }
  return sums;
}

// Stores exp((a_j - m)/T) for every j, 0 for the pivot, and returns the sum of the others. They are exact
// to float64's last bits where what follows subtracts; m is the largest then.
template <class As, class T, class Tempering>
APART Exponentials exponentials(As as, Reader<T>& a, double m, std::size_t pivot, Tempering t, double* e,
                                const T* next = nullptr) {
  LaneSums<FewSums::width> others;
  double e_pivot = 0.0;
  for (std::size_t begin = 0; begin < a.k;) {
    const Span span = span_at(begin, a.k);
    begin = span.next;
    // the next row's memory is fetched while this one's exponentials keep the arithmetic busy
    if (next)
      for (std::size_t j = 0; j < span.length(); j += 64 / sizeof(T)) PREFETCH(next + span.begin + j);
    const Wide<T>* x = a.load(span);
    double* out = e + span.begin;
    FewSums sums = stays_within(as, x, m, span.length(), t) ? some_exponentials<true>(as, x, m, span.length(), t, out)
                                                            : some_exponentials<false>(as, x, m, span.length(), t, out);
    const std::size_t place = pivot - span.begin;
    const bool holds_pivot = place < span.length();
    if (holds_pivot) e_pivot = out[place];
    if (span.repeated) sums = sums_after(span.repeated, place, out);
    else if (holds_pivot) sums = sums_without(place, out, span.length());
    if (holds_pivot) out[place] = 0.0;
    if (a.k <= lanes) {  // two numbers in each place: nothing is lost
      fold<FewSums::width / 2>(sums.value);
      return {sums.value[0], e_pivot};
    }
    others.add(sums.value);
  }
  return {others.total(), e_pivot};
}

// Writes narrow(value(j)) for every j of a row.
template <class T, class Value>
INLINE void write(T* row, std::ptrdiff_t step, std::size_t k, Value value) {
  if (step != 1 || k < lanes) {
    for (std::size_t j = 0; j < k; ++j) row[static_cast<std::ptrdiff_t>(j) * step] = narrow<T>(value(j));
    return;
  }
#pragma omp simd
  for (std::size_t j = 0; j < k / lanes * lanes; ++j) row[j] = narrow<T>(value(j));
  if (k % lanes) {
    T* last = row + (k - lanes);
#pragma omp simd
    for (std::size_t l = 0; l < lanes; ++l) last[l] = narrow<T>(value(k - lanes + l));
  }
}

// The same for a whole row that is not read again soon.
template <class T, class Value>
INLINE void write_past_caches(T* row, std::size_t k, Value value) {
  alignas(64) T buffer[block];
  for (std::size_t begin = 0; begin < k; begin += block) {
    const std::size_t count = std::min(block, k - begin);  // what lies beyond is computed and not written
#pragma omp simd
    for (std::size_t j = 0; j < block; ++j) buffer[j] = narrow<T>(value(begin + j));
    stream(row + begin, buffer, count * sizeof(T));
  }
}

// What a row leaves for the loss, which is computed for many rows at once: the weight times (linear + log1p(y)).
struct Pending {
  static constexpr std::size_t rows = 64;
  alignas(64) double linear[rows], y[rows], weight[rows], added[rows];
  INLINE void set(std::size_t i, double linear_, double y_, double weight_, double added_) {
    linear[i] = linear_, y[i] = y_, weight[i] = weight_, added[i] = added_;
  }
};

template <class T>
INLINE T* row_of(const Matrix<T>& matrix, std::size_t row) {
  return matrix.data + static_cast<std::ptrdiff_t>(row) * matrix.row_stride;
}
template <class T>
INLINE T& element(const Matrix<T>& matrix, std::size_t row, std::size_t j) {
  return row_of(matrix, row)[static_cast<std::ptrdiff_t>(j) * matrix.column_stride];
}

// The first of the largest, or the first NaN: NumPy's argmax.
INLINE std::size_t argmax(const double* x, std::size_t k) {
  std::size_t best = 0;
  for (std::size_t j = 1; j < k; ++j)
    if (!(x[j] <= x[best]) && x[best] == x[best]) best = j;
  return best;
}

template <class T>
INLINE bool is_ignored(const Job<T>& job, std::size_t row) {
  return job.ignores && job.labels && job.labels[row] == job.ignored;
}

// Read once, and checked where memory is touched by it: another thread may have changed it since the caller's check.
template <class T>
INLINE std::size_t label_of(const Job<T>& job, std::size_t row) {
  const auto label = static_cast<std::uint64_t>(*static_cast<const volatile std::int64_t*>(job.labels + row));
  if (label < job.k) return static_cast<std::size_t>(label);
  if (job.changed) job.changed->store(true, std::memory_order_relaxed);
  return 0;
}

template <class T>
INLINE void count_for_nothing(const Job<T>& job, std::size_t row, Pending& pending, std::size_t i) {
  write(row_of(job.result, row), job.result.column_stride, job.k, [](std::size_t) { return 0.0; });
  pending.set(i, 0.0, 0.0, 0.0, 0.0);
}

// What S is and what the loss is made of, given the sums of exponentials of distances to `top`.
struct Sums {
  double sum, inverse, shift, y;
  template <class Tempering>
  INLINE Sums(Exponentials e, double top, double a_label, Tempering t)
      : sum(e.others + e.pivot), inverse(1.0 / sum),
        shift(a_label == top ? e.pivot - e.pivot : over(top - a_label, t)),  // NaN where a - top is
        y(a_label == top ? e.others : sum - 1.0) {}
};

// The formulas hold for any m. While no exponential overflows, the label's own logit saves the search for the largest;
// float64's exponential is made for arguments <= 0.
template <class T>
constexpr bool anchored = std::is_same_v<Enough<T>, Float32>;

// The gradient of one label, times a weight.
template <class T, class Tempering>
APART void plain_row(const Job<T>& job, std::size_t row, Tempering t, double* e, Pending& pending, std::size_t i) {
  T* g = row_of(job.result, row);
  const std::ptrdiff_t step = job.result.column_stride;
  const std::size_t k = job.k;
  if (is_ignored(job, row)) return count_for_nothing(job, row, pending, i);
  const std::size_t label = label_of(job, row);
  Reader<T> a{row_of(job.logits, row), job.logits.column_stride, k};
  const T* next = row + 1 < job.n && job.logits.column_stride == 1 ? row_of(job.logits, row + 1) : nullptr;
  const auto a_label = static_cast<double>(a.at(label));
  double m = anchored<T> ? a_label : static_cast<double>(maximum(a));
  Exponentials found = exponentials(Enough<T>{}, a, m, label, t, e, next);
  if (anchored<T> && !(found.others < overflowing)) {
    m = static_cast<double>(maximum(a));
    found = exponentials(Enough<T>{}, a, m, label, t, e);
  }
  const Sums s{found, m, a_label, t};
  const double weight = job.class_weights ? job.class_weights[label] : 1.0;
  const double factor = weight * over(job.scale, t) * s.inverse;
  e[label] = 0.0 - found.others;
  const auto value = [=](std::size_t j) { return e[j] * factor; };
  if (streams(job)) write_past_caches(g, k, value);
  else write(g, step, k, value);
  pending.set(i, s.shift, s.y, weight, 0.0);
}

// A row's numbers, widened, and -inf, or 0, to the end of the last vector.
template <class T>
INLINE void widen_row(const T* row, std::ptrdiff_t step, std::size_t k, double* to, double beyond) {
  if (step == 1) {
#pragma omp simd
    for (std::size_t j = 0; j < k; ++j) to[j] = static_cast<double>(widen(row[j]));
  } else {
    for (std::size_t j = 0; j < k; ++j) to[j] = static_cast<double>(widen(row[static_cast<std::ptrdiff_t>(j) * step]));
  }
  for (std::size_t l = 0; l < lanes; ++l) to[k + l] = beyond;
}

// Float64 keeps more digits of capped logits than it has; so must others, where the cap is so high that it loses them.
template <class T>
INLINE bool caps_exactly(const Job<T>& job) {
  return sizeof(T) == 8 || job.softcap > 0x1p15;
}

// The gradient with every option, and what else was asked for. `scratch` holds seven rows, the first of them the weights.
template <class T>
APART void gradient_row(const Job<T>& job, std::size_t row, double* scratch, Pending& pending, std::size_t i) {
  const std::size_t k = job.k, room = k + block;
  const bool has_options = !job.labels || job.label_smoothing != 0.0 || job.z_loss != 0.0 || job.softcap != 0.0;
  OptionsRow r{k, scratch + room, scratch + 2 * room, scratch, job.label_smoothing, job.temperature, job.multiplier,
               job.softcap, job.z_loss, job.scale, sizeof(T) == 8, has_options, job.logsumexp || job.z_loss != 0.0,
               job.softcap != 0.0 && caps_exactly(job), scratch + 3 * room, scratch + 4 * room, scratch + 5 * room,
               scratch + 6 * room};
  widen_row(row_of(job.logits, row), job.logits.column_stride, k, r.x, -std::numeric_limits<double>::infinity());
  const std::size_t predicted = job.prediction || job.correct ? argmax(r.x, k) : 0;
  softmax_of(r);
  const bool ignored = is_ignored(job, row);
  if (job.probabilities.data)
    write(row_of(job.probabilities, row), job.probabilities.column_stride, k,
          [e = r.e, inverse = 1.0 / r.sum](std::size_t j) { return e[j] * inverse; });
  if (job.logsumexp) put(job.logsumexp, row, r.logsumexp);
  if (job.entropy) put(job.entropy, row, entropy_of(r));

  std::size_t label = 0;
  if (job.labels) {
    std::memset(r.given, 0, (k + lanes) * sizeof(double));
    if (!ignored) label = label_of(job, row), r.given[label] = 1.0;
  } else {
    widen_row(row_of(job.second, row), job.second.column_stride, k, r.given, 0.0);
  }
  if (job.log_likelihood) put(job.log_likelihood, row, ignored ? 0.0 : 0.0 - cross_entropy_of(r));
  if (job.prediction) job.prediction[row] = static_cast<std::int64_t>(predicted);
  if (job.correct) job.correct[row] = !ignored && predicted == (job.labels ? label : argmax(r.given, k));
  if (ignored) return count_for_nothing(job, row, pending, i);
  loss_and_gradient_of(r);
  pending.set(i, 0.0, 0.0, 0.0, r.loss);
  write(row_of(job.result, row), job.result.column_stride, k, [g = r.gradient](std::size_t j) { return g[j]; });
}

// Everything that has no label: the pivot is the largest class.
template <class T>
APART void softmax_row(const Job<T>& job, std::size_t row, double* e) {
  constexpr NoTemperature t;
  T* p = row_of(job.result, row);
  const std::ptrdiff_t step = job.result.column_stride;
  Reader<T> a{row_of(job.logits, row), job.logits.column_stride, job.k};
  const auto top = static_cast<double>(maximum(a));
  std::size_t pivot = 0;
  while (pivot + 1 < job.k && !(static_cast<double>(a.at(pivot)) == top)) ++pivot;
  const Exponentials found = job.output == Output::hessian_vector_product
                                 ? exponentials(Float64{}, a, top, pivot, t, e)
                                 : exponentials(Enough<T>{}, a, top, pivot, t, e);
  const double others = found.others, e_pivot = found.pivot;
  const double sum = others + e_pivot, inverse = 1.0 / sum;
  T last;  // the pivot's, whose 1 - p is s_o / S
  if (job.output == Output::log_softmax) {
    const double log_sum = log1p_of(others) + (e_pivot - e_pivot);
    write(p, step, job.k,
          [&](std::size_t j) { return over(static_cast<double>(a.at(j)) - top, t) - log_sum; });
    return;
  }
  if (job.output == Output::softmax) {
    last = narrow<T>(e_pivot * inverse);
    write(p, step, job.k, [=](std::size_t j) { return e[j] * inverse; });
  } else if (job.output == Output::hessian_diagonal) {
    last = narrow<T>(e_pivot * inverse * (others * inverse));
    write(p, step, job.k, [=](std::size_t j) { return e[j] * inverse * ((sum - e[j]) * inverse); });
  } else {
    // p_j (v_j - p'v) does not change when v_pivot is taken from every v, and then the pivot's own term is 0
    const T* v = row_of(job.second, row);
    const std::ptrdiff_t v_step = job.second.column_stride;
    const double v_pivot = static_cast<double>(widen(v[static_cast<std::ptrdiff_t>(pivot) * v_step]));
    const auto u = [=](std::size_t j) {
      return static_cast<double>(widen(v[static_cast<std::ptrdiff_t>(j) * v_step])) - v_pivot;
    };
    Sum mean;
    for (std::size_t j = 0; j < job.k; ++j) mean.add(e[j] * inverse * u(j));
    const double center = mean.total();
    last = narrow<T>(e_pivot * inverse * (0.0 - center));
    write(p, step, job.k, [&](std::size_t j) { return e[j] * inverse * (u(j) - center); });
  }
  p[static_cast<std::ptrdiff_t>(pivot) * step] = last;
}

}  // namespace SET
}  // namespace chainrule
