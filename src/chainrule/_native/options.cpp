// The loss with every option, and its gradient, of one row in float64; compiled once for each instruction SET.
//
// With targets q that sum to Q, smoothed labels being such targets, and the z-loss lambda lse^2,
//     loss   = sum_j q_j (m - a_j)/T + Q log S + lambda lse^2
//     grad_j = (A_j - B_j)/(S T),  A_j = e_j (Q - q_j + 2 lambda lse),  B_j = q_j o_j,
// where o_j = S - e_j, or s_o for the largest class, and Q - q_j is summed apart for the heaviest target. Near convergence
// A_j and B_j cancel. Where their difference has too few digits, the row is computed again in double-double, as
//     grad_j = (e_j (Q + 2 lambda lse)/S - q_j)/T;
// a row that does not cancel does not pay for it. In float64 every difference loses digits: there all rows go that way.
// Logits multiplied by s count as a temperature of T/s; with a cap c, a is c tanh(s a/c) before, and grad_j times its slope.
#include "options.hpp"

#include <bit>

#include "double_double.hpp"

namespace chainrule {
inline namespace SET {
namespace {

INLINE std::size_t whole_vectors(std::size_t k) { return (k + lanes - 1) / lanes * lanes; }

// f(j, lane) for every j, a vector at a time, and for what lies beyond k in the last.
template <class F>
INLINE void each(std::size_t k, F f) {
  for (std::size_t v = 0; v < k; v += lanes)
#pragma omp simd
    for (std::size_t l = 0; l < lanes; ++l) f(v + l, l);
}

template <class F>
INLINE double sum_over(std::size_t k, F f) {
  if (k <= lanes) {  // one number in each lane: nothing is lost yet
    alignas(64) double x[lanes];
    each(k, [&](std::size_t j, std::size_t) { x[j] = f(j); });
    fold(x);
    return x[0];
  }
  LaneSums<> sums;
  each(k, [&](std::size_t j, std::size_t l) { add_to(sums.value[l], sums.lost[l], f(j)); });
  return sums.total();
}

// The first j whose f is that; the last, where none is.
template <class F>
INLINE std::size_t first_of(std::size_t k, double that, F f) {
  for (std::size_t v = 0; v < k; v += lanes) {
    unsigned found = 0;
#pragma omp simd reduction(| : found)
    for (std::size_t l = 0; l < lanes; ++l) found |= static_cast<unsigned>(f(v + l) == that) << l;
    if (found != 0) {
      const std::size_t j = v + static_cast<std::size_t>(std::countr_zero(found));
      if (j < k) return j;
    }
  }
  return k - 1;
}

// Smoothed and weighted: (given_j (1 - smoothing) + smoothing/K) w_j.
struct Targets {
  const double *given, *weights;
  double kept, base;
  INLINE explicit Targets(const OptionsRow& row)
      : given(row.given), weights(row.weights), kept(1.0 - row.label_smoothing),
        base(row.label_smoothing / static_cast<double>(row.k)) {}
  INLINE double operator[](std::size_t j) const { return (given[j] * kept + base) * weights[j]; }
};
struct ExactTargets {
  const double *given, *weights;
  DoubleDouble kept, base;
  INLINE explicit ExactTargets(const OptionsRow& row)
      : given(row.given), weights(row.weights), kept(two_sum(1.0, -row.label_smoothing)),
        base(DoubleDouble{row.label_smoothing, 0.0} / DoubleDouble{static_cast<double>(row.k), 0.0}) {}
  INLINE DoubleDouble operator[](std::size_t j) const { return (kept * given[j] + base) * weights[j]; }
};

// What the gradient's terms are made of, but for what depends on the class.
struct Terms {
  double total, pull, widest_pull, factor;
};

// How small a part of its terms a difference may be: those have an error of some 2^-51, float32 and less need 2^-31.
INLINE double least_share(bool is_float64) { return is_float64 ? 0.9 : 0x1p-18; }
INLINE bool cancels(double difference, double terms, bool is_float64) {
  return std::fabs(difference) < terms * least_share(is_float64);
}

// What divides the logits that are in `x`.
INLINE Temperature tempering(const OptionsRow& row) {
  return row.softcap != 0.0 ? Temperature(row.temperature) : Temperature(row.temperature, row.multiplier);
}
INLINE bool is_one(Temperature t) { return t.value == 1.0 && t.low == 0.0; }

// c tanh(s a/c) by exp(-2|s a/c|) = E: tanh = (1 - E)/(1 + E), its slope 4 E/(1 + E)^2. -inf stays what it is.
struct Cap {
  double cap, multiplier;
  INLINE double far(double a) const { return std::fabs(a) * (multiplier / cap); }  // near enough for a bound
};

INLINE double capped(double a, Cap by, double& slope) {
  const double y = -2.0 * std::fabs(a * by.multiplier / by.cap);
  const bool below = y < -746.0;
  const double at = below ? -746.0 : y, shifted = at * log2e + round_shift, k = shifted - round_shift;
  const double r = (at - k * ln2_high) - k * ln2_low, e = (exp_series(r) * r + 1.0) * r;  // exp(r) - 1
  const double power = scale_by_power(1.0, shifted + 600.0) * (below ? 0.0 : 0x1p-600);
  const double minus = (1.0 - power) - power * e, inverse = 1.0 / ((1.0 + power) + power * e);
  slope = by.multiplier * 4.0 * (power * (1.0 + e)) * inverse * inverse;
  const double value = std::copysign(by.cap * (minus * inverse), a);
  return a == -std::numeric_limits<double>::infinity() ? a : value;
}

INLINE DoubleDouble exactly_capped(double a, Cap by, double& slope) {
  const bool far = by.far(a) > 373.0;  // the slope is 0 in float64
  const double near = far ? 0.0 : std::fabs(a), scaled = near * by.multiplier;
  const DoubleDouble product{scaled, product_error(near, by.multiplier, scaled)};
  const DoubleDouble u = product / DoubleDouble{by.cap, 0.0};
  const auto [e, first, second] = power_of({-2.0 * u.high, -2.0 * u.low});
  const double power = first * second;
  const DoubleDouble part{e.high * power, e.low * power};
  const DoubleDouble minus = two_sum(1.0, -power) - part, plus = two_sum(1.0, power) + part;
  const DoubleDouble value = (minus / plus) * by.cap;
  const double inverse = 1.0 / plus.high, high = far ? by.cap : value.high;
  slope = far ? 0.0 : by.multiplier * 4.0 * (1.0 + e.high) * inverse * inverse * first * second;
  const bool masked = a == -std::numeric_limits<double>::infinity();
  const double sign = std::copysign(1.0, a), low = (far | masked) ? 0.0 : value.low;
  return {masked ? a : sign * high, sign * low};
}

// The capped logits, from those in `low`.
void cap_row(OptionsRow& row, bool exactly) {
  const Cap by{row.softcap, row.multiplier};
  double *const x = row.x, *const slope = row.slope, *const low = row.low;
  if (exactly) {
    each(row.k, [=](std::size_t j, std::size_t) {
      const DoubleDouble value = exactly_capped(low[j], by, slope[j]);
      x[j] = value.high, low[j] = value.low;
    });
  } else {
    each(row.k, [=](std::size_t j, std::size_t) { x[j] = capped(low[j], by, slope[j]); });
  }
  row.exactly_capped = exactly;
  row.top = x[row.largest];
}

// top - x_j, to float64's last digit.
template <bool in_parts>
struct BelowTop {
  const double *x, *low;
  double top, top_low;
  INLINE explicit BelowTop(const OptionsRow& row)
      : x(row.x), low(row.low), top(row.top), top_low(in_parts ? row.low[row.largest] : 0.0) {}
  INLINE double operator()(std::size_t j) const {
    if constexpr (in_parts) return (top - x[j]) + (top_low - low[j]);
    else return top - x[j];
  }
};

// The exponentials, their low parts into `gradient`, and the sum of all but the largest, which is 1.
template <bool tempered, bool in_parts>
DoubleDouble exact_exponentials(const OptionsRow& row) {
  const Temperature t = tempering(row);
  const double temperature = t.value, temperature_low = t.low;
  const DoubleDouble top{row.top, in_parts ? row.low[row.largest] : 0.0};
  double *const e = row.e, *const low = row.gradient, *const x = row.x, *const x_low = row.low;
  DoubleDoubleSums sums;
  const double largest = x[row.largest];
  x[row.largest] = -std::numeric_limits<double>::infinity();
  each(row.k, [&](std::size_t j, std::size_t l) {
    DoubleDouble found = two_sum(x[j], -top.high);
    const bool far = found.high < -800.0 * temperature;  // -inf too, whose low part is NaN
    if constexpr (in_parts) found = found + DoubleDouble{x_low[j] - top.low, 0.0};
    DoubleDouble difference{far ? -800.0 * temperature : found.high, far ? 0.0 : found.low};
    if constexpr (tempered) difference = difference / DoubleDouble{temperature, temperature_low};
    const DoubleDouble value = exp_of(difference);
    e[j] = value.high, low[j] = value.low;
    sums.add(l, value);
  });
  x[row.largest] = largest, e[row.largest] = 1.0, low[row.largest] = 0.0;
  return sums.total();
}

template <bool tempered>
DoubleDouble exact_exponentials(const OptionsRow& row) {
  return row.exactly_capped ? exact_exponentials<tempered, true>(row) : exact_exponentials<tempered, false>(row);
}

void make_exact(OptionsRow& row) {
  if (row.softcap != 0.0 && !row.exactly_capped) cap_row(row, true);
  const DoubleDouble others =
      is_one(tempering(row)) ? exact_exponentials<false>(row) : exact_exponentials<true>(row);
  row.exact = true;
  row.others = others.high, row.others_low = others.low;
}

DoubleDouble exact_logsumexp(const OptionsRow& row) {
  const Temperature t = tempering(row);
  const double over = row.top / t.value, low = row.exactly_capped ? row.low[row.largest] : 0.0;
  const DoubleDouble shift = std::fabs(row.top) < 0x1p900  // else the low parts overflow, and mean nothing
                                 ? DoubleDouble{row.top, low} / DoubleDouble{t.value, t.low}
                                 : DoubleDouble{over, 0.0};
  return shift + log1p_of({row.others, row.others_low}, log1p_of(row.others));
}

template <class Tempering>
INLINE void exponentials_of(OptionsRow& row, Tempering t) {
  Reader<double> x{row.x, 1, whole_vectors(row.k)};
  const Exponentials found = exponentials(Float64{}, x, row.top, row.largest, t, row.e);
  row.e[row.largest] = found.pivot;
  row.others = found.others, row.others_low = 0.0;
}

// sum_j q_j (m - x_j)/T; a class of weight 0 counts for nothing, even at -inf.
template <bool in_parts, class Weights, class Tempering>
INLINE double cross_of(const OptionsRow& row, Weights q, Tempering t) {
  const BelowTop<in_parts> below(row);
  return sum_over(row.k, [=](std::size_t j) { return q[j] != 0.0 ? q[j] * over(below(j), t) : 0.0; });
}
template <class Weights>
double cross_of(const OptionsRow& row, Weights q) {
  const Temperature t = tempering(row);
  if (row.exactly_capped) return cross_of<true>(row, q, t);
  if (is_one(t)) return cross_of<false>(row, q, NoTemperature{});
  return cross_of<false>(row, q, t);
}

// The gradient as A - B. Returns whether any of its elements cancels.
INLINE bool gradient_of(const OptionsRow& row, const Targets& q, const Terms& terms, std::size_t heavy, double away) {
  const double *const e = row.e, sum = row.sum;
  double* const gradient = row.gradient;
  const double bar = least_share(row.is_float64);
  alignas(64) double lost[lanes] = {};
  // without a branch or a pair of results, which would keep the loop from being vectorised
  const auto at = [=](std::size_t j, double rest, double o, double& is_lost) {
    const double b = q[j] * o, difference = e[j] * (rest + terms.pull) - b;
    is_lost += std::fabs(difference) < (e[j] * (std::fabs(rest) + terms.widest_pull) + std::fabs(b)) * bar ? 1.0 : 0.0;
    gradient[j] = difference * terms.factor;
  };
  each(row.k, [&](std::size_t j, std::size_t l) { at(j, terms.total - q[j], sum - e[j], lost[l]); });
  const bool heavy_is_largest = heavy == row.largest;
  at(heavy, away, heavy_is_largest ? row.others : sum - e[heavy], lost[0]);
  if (!heavy_is_largest) at(row.largest, terms.total - q[row.largest], row.others, lost[0]);
  fold(lost);
  return lost[0] != 0.0;
}

// The gradient in double-double; by A - B where that has more digits, as for a target of exactly 1.
INLINE void exact_gradient_of(const OptionsRow& row, const Targets& q, const Terms& terms, std::size_t heavy, double away) {
  const ExactTargets exact_q(row);
  DoubleDoubleSums sums;
  each(row.k, [&](std::size_t j, std::size_t l) { sums.add(l, exact_q[j]); });
  DoubleDouble scale = sums.total();
  if (row.z_loss != 0.0) {  // beyond float64's middle the low parts overflow, and mean nothing
    const bool far = std::fabs(row.logsumexp) > 0x1p900;
    scale = scale + (far ? DoubleDouble{terms.pull, 0.0} : exact_logsumexp(row) * (2.0 * row.z_loss));
  }
  const DoubleDouble by = scale / (DoubleDouble{1.0, 0.0} + DoubleDouble{row.others, row.others_low});
  const double *const e = row.e, sum = row.sum, inverse = 1.0 / sum, per_logit = row.scale / tempering(row).value;
  double* const gradient = row.gradient;
  const bool is_float64 = row.is_float64;
  const auto at = [=](std::size_t j, double rest, double o) {
    const DoubleDouble target = exact_q[j], share = DoubleDouble{e[j], gradient[j]} * by, exact = share - target;
    const double b = target.high * o, difference = e[j] * (rest + terms.pull) - b;
    const bool few = std::fabs(exact.high) < 0x1p-45 * (std::fabs(share.high) + std::fabs(target.high));
    const bool many = !cancels(difference, e[j] * (std::fabs(rest) + terms.widest_pull) + std::fabs(b), is_float64);
    return ((few & many) ? difference * inverse : exact.high) * per_logit;
  };
  const double at_largest = at(row.largest, row.largest == heavy ? away : terms.total - q[row.largest], row.others);
  const double at_heavy = at(heavy, away, row.largest == heavy ? row.others : sum - e[heavy]);
  each(row.k, [&](std::size_t j, std::size_t) { gradient[j] = at(j, terms.total - q[j], sum - e[j]); });
  gradient[heavy] = at_heavy, gradient[row.largest] = at_largest;
}

}  // namespace

void softmax_of(OptionsRow& row) {
  Reader<double> x{row.x, 1, whole_vectors(row.k)};
  row.top = maximum(x);
  row.largest = first_of(row.k, row.top, [&](std::size_t j) { return row.x[j]; });
  if (row.softcap != 0.0) {  // it leaves the order of the logits as it is
    std::copy(row.x, row.x + whole_vectors(row.k), row.low);
    cap_row(row, row.caps_exactly);
  }
  const Temperature t = tempering(row);
  const bool finite = row.top - row.top == 0.0;
  if ((row.is_float64 || row.caps_exactly) && row.has_options && finite) make_exact(row);
  else if (is_one(t)) exponentials_of(row, NoTemperature{});
  else exponentials_of(row, t);
  row.sum = row.others + row.e[row.largest];
  row.log_sum = log1p_of(row.others) + (row.sum - row.sum);
  const double shift = row.top / t.value;
  row.logsumexp = shift + row.log_sum;
  if (row.wants_logsumexp && cancels(row.logsumexp, std::fabs(shift) + row.log_sum, row.is_float64)) {
    if (!row.exact) make_exact(row);
    row.logsumexp = exact_logsumexp(row).high;
  }
  if (!finite) {  // infinite, unless a NaN is among the logits
    row.logsumexp = row.top;
    for (std::size_t j = 0; j < row.k; ++j) row.logsumexp = row.x[j] == row.x[j] ? row.logsumexp : row.x[j];
  }
}

void loss_and_gradient_of(OptionsRow& row) {
  const std::size_t k = row.k;
  const Targets q(row);
  Largest<double> most(0.0);
  most.add(whole_vectors(k), [=](std::size_t j) { return q[j]; });
  const std::size_t heavy = first_of(k, most.total(), [=](std::size_t j) { return q[j]; });
  const double away = sum_over(k, [=](std::size_t j) { return j == heavy ? 0.0 : q[j]; });
  const double total = away + q[heavy], z = row.z_loss, temperature = tempering(row).value, shift = row.top / temperature;
  row.loss = cross_of(row, q) + total * row.log_sum + (z == 0.0 ? 0.0 : z * row.logsumexp * row.logsumexp);
  Terms terms{total, 0.0, 0.0, row.scale / temperature / row.sum};
  if (z != 0.0) terms.pull = 2.0 * z * row.logsumexp, terms.widest_pull = 2.0 * z * (std::fabs(shift) + row.log_sum);
  // targets of either sign may cancel in their own sums
  const double lows = sum_over(k, [=](std::size_t j) { return q[j] < 0.0 ? 1.0 : 0.0; });
  if (row.exact || gradient_of(row, q, terms, heavy, away) || lows != 0.0) {
    if (!row.exact) make_exact(row);
    exact_gradient_of(row, q, terms, heavy, away);
  }
  if (row.softcap == 0.0) return;
  double *const gradient = row.gradient, *const slope = row.slope;
  each(k, [=](std::size_t j, std::size_t) { gradient[j] *= slope[j]; });
}

double cross_entropy_of(const OptionsRow& row) {
  const double* const given = row.given;
  return cross_of(row, given) + sum_over(row.k, [=](std::size_t j) { return given[j]; }) * row.log_sum;
}

double entropy_of(const OptionsRow& row) {
  const double *const e = row.e, temperature = tempering(row).value, inverse = 1.0 / row.sum;
  const std::size_t k = row.k;
  const auto sum = [=](auto below) {
    return sum_over(k, [=](std::size_t j) {
      const double distance = below(j) / temperature;
      return distance < 746.0 ? e[j] * inverse * distance : 0.0;  // where exp is 0, or nearly, and for a masked class
    });
  };
  return row.log_sum + (row.exactly_capped ? sum(BelowTop<true>(row)) : sum(BelowTop<false>(row)));
}

}  // namespace SET
}  // namespace chainrule
