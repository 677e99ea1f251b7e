// Numbers of twice float64's digits: the sum of two, of which the second is at most half a unit in the first's last place
// (Dekker, "A floating-point technique for extending the available precision", 1971; Knuth, TAOCP vol. 2, 4.2.2).
//
// An operation's error is a few times 2^-106 of its operands. Nothing here branches, so that a loop over it is vectorised.
// A compiler that fuses multiplications and additions leaves a product alone whose rounding error is asked for.
#pragma once
#include "rows.hpp"

namespace chainrule {
inline namespace SET {

struct DoubleDouble {
  double high, low;
};

// a + b, for any a and b.
INLINE DoubleDouble two_sum(double a, double b) {
  const double sum = a + b, back = sum - a;
  return {sum, (a - (sum - back)) + (b - back)};
}
// The same where |a| >= |b|, or a is 0.
INLINE DoubleDouble quick_two_sum(double a, double b) {
  const double sum = a + b;
  return {sum, b - (sum - a)};
}

// a b - product, exactly, where `product` is a b rounded.
INLINE double product_error(double a, double b, double product) {
#if defined(__FMA__) || defined(__ARM_FEATURE_FMA)
  return std::fma(a, b, -product);
#else  // each factor in two halves (Veltkamp)
  const double spread_a = 134217729.0 * a, spread_b = 134217729.0 * b;
  const double a1 = spread_a - (spread_a - a), b1 = spread_b - (spread_b - b), a2 = a - a1, b2 = b - b1;
  return ((a1 * b1 - product) + a1 * b2 + a2 * b1) + a2 * b2;
#endif
}

INLINE DoubleDouble operator+(DoubleDouble a, DoubleDouble b) {
  const DoubleDouble sum = two_sum(a.high, b.high);
  return quick_two_sum(sum.high, sum.low + (a.low + b.low));
}
INLINE DoubleDouble operator-(DoubleDouble a, DoubleDouble b) { return a + DoubleDouble{-b.high, -b.low}; }
INLINE DoubleDouble operator*(DoubleDouble a, DoubleDouble b) {
  const double product = a.high * b.high, error = product_error(a.high, b.high, product);
  return quick_two_sum(product, error + (a.high * b.low + a.low * b.high));
}
INLINE DoubleDouble operator*(DoubleDouble a, double b) {
  const double product = a.high * b, error = product_error(a.high, b, product);
  return quick_two_sum(product, error + a.low * b);
}
INLINE DoubleDouble operator/(DoubleDouble a, DoubleDouble b) {
  const double quotient = a.high / b.high, product = quotient * b.high;
  const double rest = ((a.high - product) - product_error(quotient, b.high, product)) + (a.low - quotient * b.low);
  return quick_two_sum(quotient, rest / b.high);
}

// c + a b where |c| is the larger by far.
INLINE DoubleDouble plus_product(DoubleDouble c, DoubleDouble a, DoubleDouble b) {
  const double product = a.high * b.high, error = product_error(a.high, b.high, product);
  const DoubleDouble sum = quick_two_sum(c.high, product);
  return {sum.high, sum.low + (c.low + (error + (a.high * b.low + a.low * b.high)))};
}

// exp(x) as 2^k (1 + e), with 2^k in two factors, of which neither is subnormal.
struct Power {
  DoubleDouble e;
  double first, second;
};

// exp(x) to 2^-102 or so, for x <= 0 or little more; 0 where float64's is, and for -inf.
//
// With x = k ln 2 + r and s = r/8, exp(s) - 1 is Taylor's series, whose last half needs only float64's digits, and is
// doubled three times by (1 + E)^2 - 1 = 2E + E^2.
INLINE Power power_of(DoubleDouble x) {
  constexpr double ln2_lowest = -0x1.ff0342542fc33p-94;  // ln 2 - ln2_high - ln2_low
  constexpr DoubleDouble reciprocals[] = {               // of 8!, 7! … 3!
      {0x1.a01a01a01a01ap-16, 0x1.a01a01a01a01ap-76}, {0x1.a01a01a01a01ap-13, 0x1.a01a01a01a01ap-73},
      {0x1.6c16c16c16c17p-10, -0x1.f49f49f49f49fp-65}, {0x1.1111111111111p-7, 0x1.1111111111111p-63},
      {0x1.5555555555555p-5, 0x1.5555555555555p-59}, {0x1.5555555555555p-3, 0x1.5555555555555p-57}};
  const bool below = x.high < -746.0;
  const double y = below ? -746.0 : x.high, rest = below ? 0.0 : x.low;
  const double shifted = y * log2e + round_shift, k = shifted - round_shift;
  const double product = k * ln2_low, error = product_error(k, ln2_low, product);
  const DoubleDouble near = two_sum(y - k * ln2_high, -product);
  const DoubleDouble r = quick_two_sum(near.high, near.low + ((rest - error) - k * ln2_lowest));
  const DoubleDouble s{r.high * 0.125, r.low * 0.125};
  double tail = 1.0 / 20922789888000.0;  // of 16!
  tail = tail * s.high + 1.0 / 1307674368000.0;
  tail = tail * s.high + 1.0 / 87178291200.0;
  tail = tail * s.high + 1.0 / 6227020800.0;
  tail = tail * s.high + 1.0 / 479001600.0;
  tail = tail * s.high + 1.0 / 39916800.0;
  tail = tail * s.high + 1.0 / 3628800.0;
  tail = tail * s.high + 1.0 / 362880.0;
  DoubleDouble p = plus_product(reciprocals[0], {tail, 0.0}, s);
  p = plus_product(reciprocals[1], p, s);
  p = plus_product(reciprocals[2], p, s);
  p = plus_product(reciprocals[3], p, s);
  p = plus_product(reciprocals[4], p, s);
  p = plus_product(reciprocals[5], p, s);
  p = plus_product({0.5, 0.0}, p, s);
  p = plus_product({1.0, 0.0}, p, s);
  DoubleDouble e = p * s;
  e = plus_product({2.0 * e.high, 2.0 * e.low}, e, e);
  e = plus_product({2.0 * e.high, 2.0 * e.low}, e, e);
  e = plus_product({2.0 * e.high, 2.0 * e.low}, e, e);
  const double power = bits_of<double>((bits_of<std::uint64_t>(shifted + 600.0) << 52) + 0x3ff0000000000000u);
  return {e, power, below ? 0.0 : 0x1p-600};
}
INLINE DoubleDouble exp_of(DoubleDouble x) {
  const auto [e, first, second] = power_of(x);
  const DoubleDouble value = quick_two_sum(1.0, e.high);
  return {value.high * first * second, (value.low + e.low) * first * second};
}

// log(1 + y) for y >= 0, given its value in float64: one step of Newton's method, which has nothing to add where y is so
// small that float64's digits reach 2^-100.
INLINE DoubleDouble log1p_of(DoubleDouble y, double value) {
  const DoubleDouble one = exp_of({-value, 0.0}) * (DoubleDouble{1.0, 0.0} + y);
  const double error = (one.high - 1.0) + one.low;
  return y.high < 0x1p-47 ? DoubleDouble{value, 0.0} : quick_two_sum(value, error - 0.5 * error * error);
}

// Sums by lanes, so that one addition does not wait for another.
struct DoubleDoubleSums {
  LaneSums<> sums;
  INLINE void add(std::size_t lane, DoubleDouble x) {
    add_to(sums.value[lane], sums.lost[lane], x.high);
    sums.lost[lane] += x.low;
  }
  template <std::size_t half = lanes / 2>
  INLINE DoubleDouble total() {
#pragma omp simd
    for (std::size_t l = 0; l < half; ++l) {
      const DoubleDouble both = two_sum(sums.value[l], sums.lost[l]) + two_sum(sums.value[l + half], sums.lost[l + half]);
      sums.value[l] = both.high, sums.lost[l] = both.low;
    }
    if constexpr (half > 1) return total<half / 2>();
    return {sums.value[0], sums.lost[0]};
  }
};

}  // namespace SET
}  // namespace chainrule
