// Rows of one label with what language models add: a cap of the logits, a z-loss, and what else is asked for. Of float32 and
// narrower; float64, and a row whose terms cancel, goes by options.cpp.
//
// With the largest logit's place i apart from the label l, and z_j = c tanh(s a_j/c),
//     S = 1 + e_l + sum over j != i, l of e_j,   e_j = exp((z_j - z_i)/T),   lse = z_i/T + log1p(S - 1)
//     loss = w (z_i - z_l)/T + w log S + lambda lse^2,   H = log S + sum_j e_j (z_i - z_j)/(T S)
//     grad_j = e_j (w + 2 lambda lse)/(S T) z_j',   grad_l = (2 lambda lse e_l - w (S - e_l))/(S T) z_l'
// A cap leaves the logits' order, so their largest is found first, and one pass does all the rest. Bytes moved: the logits
// are read twice, the second time from a cache, and the gradient is written once.
#pragma once
#include "rows.hpp"

namespace chainrule {
inline namespace SET {

template <class T>
INLINE bool labelled(const Job<T>& job) {
  return sizeof(T) < 8 && job.labels && job.label_smoothing == 0.0 && !job.probabilities.data &&
         !(job.softcap != 0.0 && caps_exactly(job));
}

// z = c tanh(s a/c) and its slope, to some 2^-46 of c and of the slope.
struct FastCap {
  double cap, multiplier, ratio;
  INLINE explicit FastCap(double cap_, double multiplier_) : cap(cap_), multiplier(multiplier_), ratio(multiplier_ / cap_) {}
};
// |s a/c| <= 1: the seventh convergent of tanh's continued fraction, whose error is 8e-15 of it at most.
INLINE double near_cap(double a, const FastCap& by, double& slope) {
  const double u = a * by.ratio, v = u * u;
  const double above = ((36.0 * v + 6930.0) * v + 270270.0) * v + 2027025.0;
  const double below = (((v + 630.0) * v + 51975.0) * v + 945945.0) * v + 2027025.0;
  const double t = u * above / below;
  slope = by.multiplier * (1.0 - t * t);
  return by.cap * t;
}
// Any other: by E = exp(-2 |s a/c|), which need not be less than exp(-700).
INLINE double far_cap(double a, const FastCap& by, double& slope) {
  double y = -2.0 * std::fabs(a * by.ratio);
  y = y < -700.0 ? -700.0 : y;
  const double shifted = y * log2e + round_shift, k = shifted - round_shift;
  const double r = (y - k * ln2_high) - k * ln2_low;
  const double e = scale_by_power((exp_series(r) * r + 1.0) * r + 1.0, shifted);
  const double inverse = 1.0 / (1.0 + e), z = std::copysign(by.cap * ((1.0 - e) * inverse), a);
  slope = by.multiplier * 4.0 * e * inverse * inverse;
  return a == -std::numeric_limits<double>::infinity() ? a : (a == a ? z : a);
}

// Some logits, a multiple of `lanes`: capped into `z`, and the slopes. Compiled once: the largest's z is the same wherever asked.
template <class C>
APART void cap_some(const C* x, std::size_t count, const FastCap& by, double* z, double* slopes) {
  const FastCap cap = by;
  Largest<C> farthest(0);
  farthest.add(count, [=](std::size_t j) { return std::fabs(x[j]); });
  if (static_cast<double>(farthest.total()) * cap.ratio <= 1.0) {
#pragma omp simd
    for (std::size_t j = 0; j < count; ++j) z[j] = near_cap(static_cast<double>(x[j]), cap, slopes[j]);
  } else {
#pragma omp simd
    for (std::size_t j = 0; j < count; ++j) z[j] = far_cap(static_cast<double>(x[j]), cap, slopes[j]);
  }
}

// A row in blocks of whole vectors, the last of them padded with -inf; capped, or widened.
template <bool capped, class T>
struct LabelReader {
  using C = Wide<T>;
  Reader<T> a;
  FastCap cap;
  std::size_t begin = 0, count = 0;
  alignas(64) double z[block], slopes[block];
  alignas(64) C padded[lanes];

  INLINE LabelReader(const Job<T>& job, std::size_t row)
      : a(row_of(job.logits, row), job.logits.column_stride, job.k), cap(capped ? job.softcap : 1.0, job.multiplier) {}
  INLINE void load(std::size_t from) {
    begin = from;
    const std::size_t left = a.k - begin;
    count = left >= lanes ? std::min(left, block) / lanes * lanes : lanes;
    const C* x = padded;
    if (left >= lanes) x = a.load({begin, count / lanes, 0, begin + count});
    else
      for (std::size_t j = 0; j < lanes; ++j) padded[j] = j < left ? a.at(begin + j) : -std::numeric_limits<C>::infinity();
    if constexpr (capped) cap_some(x, count, cap, z, slopes);
    else
#pragma omp simd
      for (std::size_t j = 0; j < count; ++j) z[j] = static_cast<double>(x[j]);
  }
  // The block that holds a place.
  INLINE void load_for(std::size_t place) {
    load(place / block * block);
    if (place - begin >= count) load(begin + count);
  }
};

// What a pass over the row leaves: the sums over all but label and largest, and what belongs to these.
struct LabelSums {
  double others = 0.0, spread = 0.0, label = 0.0, slope = 1.0, below = 0.0, top = 0.0;
};

template <bool capped, class T>
INLINE LabelSums label_pass(const Job<T>& job, std::size_t row, std::size_t largest, std::size_t label, double inverse,
                            double* out) {
  const T* next = row + 1 < job.n && job.logits.column_stride == 1 ? row_of(job.logits, row + 1) : nullptr;
  LabelReader<capped, T> a(job, row);
  LabelSums found;
  a.load_for(largest);
  const double top = found.top = a.z[largest - a.begin];
  LaneSums<FewSums::width> others, spread;
  alignas(64) double e[block];
  for (std::size_t begin = 0; begin < job.k; begin += a.count) {
    if (next)
      for (std::size_t j = 0; j < block; j += 64 / sizeof(T)) PREFETCH(next + begin + j);
    a.load(begin);
    const double *const z = a.z, *const slopes = a.slopes;
    double* const to = out + begin;
    FewSums sums, spreads;
    for (std::size_t v = 0; v < a.count; v += lanes) {
      alignas(64) double at[lanes], spread_of[lanes];
#pragma omp simd
      for (std::size_t l = 0; l < lanes; ++l) {
        const double d = (z[v + l] - top) * inverse;
        at[l] = d < lowest_argument ? lowest_argument : d;
      }
      exps_of_differences<true, lanes>(Float32{}, at, [](std::size_t) { return 0.0; }, NoTemperature{}, e + v);
#pragma omp simd
      for (std::size_t l = 0; l < lanes; ++l) {
        to[v + l] = capped ? e[v + l] * slopes[v + l] : e[v + l];
        spread_of[l] = 0.0 - e[v + l] * at[l];
      }
      sums.add(e + v), spreads.add(spread_of);
    }
    const bool holds_label = label - begin < a.count, holds_largest = largest - begin < a.count;
    if (holds_label) {
      found.label = e[label - begin], found.below = top - z[label - begin], e[label - begin] = 0.0;
      if constexpr (capped) found.slope = slopes[label - begin];
    }
    if (holds_largest) e[largest - begin] = 0.0;
    if (holds_label || holds_largest) {  // once more, without them
      sums = {};
      for (std::size_t v = 0; v < a.count; v += lanes) sums.add(e + v);
    }
    others.add(sums.value), spread.add(spreads.value);
  }
  found.others = others.total(), found.spread = spread.total();
  return found;
}

// Returns whether it could: not a row with NaN or infinities at its top, nor one whose terms cancel.
template <class T>
APART bool label_row(const Job<T>& job, std::size_t row, double* scratch, Pending& pending, std::size_t i) {
  const std::size_t k = job.k;
  double* const out = scratch + (k + block);
  Reader<T> a{row_of(job.logits, row), job.logits.column_stride, k};
  const auto greatest = maximum(a);
  if (!(greatest - greatest == 0)) return false;
  const bool ignored = is_ignored(job, row);
  std::size_t largest = 0;
  while (!(a.at(largest) == greatest)) ++largest;
  const std::size_t label = ignored ? largest : label_of(job, row);
  const bool capped = job.softcap != 0.0;
  const Temperature t(job.temperature, capped ? 1.0 : job.multiplier);
  const LabelSums found = capped ? label_pass<true>(job, row, largest, label, t.inverse, out)
                                 : label_pass<false>(job, row, largest, label, t.inverse, out);
  const double e_label = label == largest ? 1.0 : found.label, beyond = label == largest ? found.others : found.others + e_label;
  if (!(beyond < overflowing)) return false;
  const double shift = found.top / t.value, sum = 1.0 + beyond, log_sum = log1p_of(beyond), logsumexp = shift + log_sum;
  const double away = label == largest ? found.others : found.others + 1.0;  // S without the label's
  const double widest = std::fabs(shift) + log_sum, z = job.z_loss, weight = job.class_weights ? job.class_weights[label] : 1.0;
  constexpr double bar = 0x1p-18;
  if ((z != 0.0 || job.logsumexp) && std::fabs(logsumexp) < widest * bar) return false;
  const double pull = 2.0 * z * logsumexp, most = 2.0 * z * widest, both = weight + pull;
  const double of_label = pull * e_label - weight * away;
  if (!ignored && z != 0.0 && std::fabs(both) < (std::fabs(weight) + most) * bar) return false;
  if (!ignored && z != 0.0 && std::fabs(of_label) < (std::fabs(weight) * away + most * e_label) * bar) return false;

  const double entropy = log_sum + found.spread / sum, log_likelihood = found.below / t.value + log_sum;
  if (job.logsumexp) put(job.logsumexp, row, logsumexp);
  if (job.entropy) put(job.entropy, row, entropy);
  if (job.log_likelihood) put(job.log_likelihood, row, ignored ? 0.0 : 0.0 - log_likelihood);
  if (job.prediction) job.prediction[row] = static_cast<std::int64_t>(largest);
  if (job.correct) job.correct[row] = !ignored && label == largest;
  if (ignored) return count_for_nothing(job, row, pending, i), true;
  pending.set(i, 0.0, 0.0, 0.0, weight * log_likelihood + (z == 0.0 ? 0.0 : z * logsumexp * logsumexp));
  const double each = job.scale / t.value / sum, factor = both * each;
  out[label] = both == 0.0 ? 0.0 : of_label * found.slope / both;
  const auto value = [=](std::size_t j) { return out[j] * factor; };
  if (streams(job)) write_past_caches(row_of(job.result, row), k, value);
  else write(row_of(job.result, row), job.result.column_stride, k, value);
  return true;
}

}  // namespace SET
}  // namespace chainrule
