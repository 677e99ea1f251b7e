// The kernels' arithmetic: number formats, exp of a difference, log(1 + y). Everything here is inlined into
// each instruction set's kernels and is free of branches, so that a loop over it is vectorised.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <iterator>
#include <limits>
#include <type_traits>

#include "kernels.hpp"

#if defined(__GNUC__)
#define PREFETCH(address) __builtin_prefetch(address)
#else
#define PREFETCH(address) ((void)(address))
#endif

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

namespace chainrule {
inline namespace SET {

// As wide as the set's registers.
#if defined(__AVX512F__)
constexpr std::size_t register_bytes = 64;
#elif defined(__AVX__) || defined(_MSC_VER)
constexpr std::size_t register_bytes = 32;
#else
constexpr std::size_t register_bytes = 16;
#endif

// Writes `bytes` past the caches, which saves fetching lines that are overwritten as a whole; `fence` orders them
// before what other threads do. The only intrinsics: a plain loop has no way to ask for such stores.
INLINE void stream(void* to, const void* from, std::size_t bytes) {
  auto* target = static_cast<unsigned char*>(to);
  auto* source = static_cast<const unsigned char*>(from);
#if defined(__SSE2__)
  const std::size_t head = std::min<std::size_t>(-reinterpret_cast<std::uintptr_t>(target) % 16, bytes);
  std::memcpy(target, source, head);
  std::size_t i = head;
  for (; i + 16 <= bytes; i += 16)
    _mm_stream_si128(reinterpret_cast<__m128i*>(target + i),
                     _mm_loadu_si128(reinterpret_cast<const __m128i*>(source + i)));
  std::memcpy(target + i, source + i, bytes - i);
#else
  std::memcpy(target, source, bytes);
#endif
}
INLINE void fence() {
#if defined(__SSE2__)
  _mm_sfence();
#endif
}

template <class To, class From>
INLINE To bits_of(From value) {
  static_assert(sizeof(To) == sizeof(From));
  To bits;
  std::memcpy(&bits, &value, sizeof bits);
  return bits;
}

// What a logit of each format is widened to, exactly, before anything is computed.
INLINE float widen(float value) { return value; }
INLINE double widen(double value) { return value; }
INLINE float widen(bfloat16 value) { return bits_of<float>(static_cast<std::uint32_t>(value.bits) << 16); }
INLINE float widen(float16 value) {
  const std::uint32_t magnitude = (value.bits & 0x7fffu) << 13, sign = (value.bits & 0x8000u) << 16;
  const float finite = bits_of<float>(magnitude) * 0x1p112f;  // exact, and right for subnormals too
  const std::uint32_t special = magnitude | 0x7f800000u;
  return bits_of<float>(((value.bits & 0x7c00u) == 0x7c00u ? special : bits_of<std::uint32_t>(finite)) | sign);
}

// float64 to float32 by rounding to odd: a second rounding, to 16 bits, then equals one rounding (Boldo and
// Melquiond, "Emulation of a FMA and correctly rounded sums: proved algorithms using rounding to odd", 2008).
INLINE std::uint32_t float32_to_odd(double value) {
  const float nearest = static_cast<float>(value);
  const double back = static_cast<double>(nearest);
  const std::uint32_t bits = bits_of<std::uint32_t>(nearest);
  const bool beyond = std::fabs(back) > std::fabs(value), inexact = back != value && value == value;
  return inexact ? (bits - (beyond ? 1u : 0u)) | 1u : bits;
}

// Rounds once, to nearest, ties to even. -0 becomes +0: a gradient of nothing has no sign.
template <class T>
INLINE T narrow(double value);
template <>
INLINE double narrow<double>(double value) {
  return value + 0.0;
}
template <>
INLINE float narrow<float>(double value) {
  return static_cast<float>(value) + 0.0f;
}
template <>
INLINE bfloat16 narrow<bfloat16>(double value) {
  // normal: 45 bits are rounded off; subnormal: adding 1.5 * 2^52 units of 2^-133 rounds to a multiple of them. Either
  // way float32 holds the result exactly, or it is infinite.
  const std::uint64_t bits = bits_of<std::uint64_t>(value);
  const double normal = bits_of<double>((bits + 0xfffffffffffu + ((bits >> 45) & 1u)) & ~0x1fffffffffffu);
  const double tiny = (value + 0x1.8p-81) - 0x1.8p-81;
  const float rounded = static_cast<float>(std::fabs(value) < 0x1p-126 ? tiny : normal) + 0.0f;
  return {static_cast<std::uint16_t>(value != value ? 0x7fc0u : bits_of<std::uint32_t>(rounded) >> 16)};
}
template <>
INLINE float16 narrow<float16>(double value) {
  const std::uint32_t odd = float32_to_odd(value), magnitude = odd & 0x7fffffffu, sign = (odd >> 16) & 0x8000u;
  // normal: the exponent's bias falls by 112, 13 bits are rounded off; 65520 and above becomes infinite
  const std::uint32_t normal = (magnitude - (112u << 23) + 0xfffu + ((magnitude >> 13) & 1u)) >> 13;
  // subnormal: adding 1/2 leaves the multiple of 2^-24 in the low bits, rounded to nearest even
  const std::uint32_t tiny = bits_of<std::uint32_t>(bits_of<float>(magnitude) + 0.5f) - 0x3f000000u;
  std::uint32_t result = magnitude < 0x38800000u ? tiny : normal;
  result = magnitude >= 0x477ff000u ? 0x7c00u : result;
  result = value != value ? 0x7e00u : (result == 0u ? 0u : result | sign);
  return {static_cast<std::uint16_t>(result)};
}

constexpr double log2e = 1.4426950408889634, ln2 = 0.6931471805599453;
constexpr double ln2_high = 0x1.62e42fefa0000p-1, ln2_low = 0x1.cf79abc9e3b3ap-40;
constexpr double round_shift = 0x1.8p52;  // adding it rounds to an integer, which then sits in the low bits

// value * 2^k for the integer k that `shifted` = k + round_shift holds, where neither is subnormal: k is added
// to the exponent's bits. NaN stays NaN where its low bits are 0, as a widened float32's are.
INLINE double scale_by_power(double value, double shifted) {
  return bits_of<double>(bits_of<std::uint64_t>(value) + (bits_of<std::uint64_t>(shifted) << 52));
}

// The temperature by which differences of logits are divided; 1 costs nothing, being known at compile time.
struct NoTemperature {};
struct Temperature {
  double value, inverse, low;  // `low` is what `value` lacks of T/s, where logits are multiplied by s
  INLINE explicit Temperature(double temperature, double multiplier = 1.0)
      : value(temperature / multiplier), inverse(multiplier / temperature),
        low(std::fma(-value, multiplier, temperature) / multiplier) {}
};

INLINE double over(double difference, NoTemperature) { return difference; }
INLINE double over(double difference, Temperature t) { return difference / t.value; }

// How exact an exponential has to be, and how wide the logits are that it is taken of.
struct Float32 {};
struct Float64 {};

// Beyond these arguments exp leaves float32's range by far, and near 709 float64's.
constexpr double lowest_argument = -708.0, highest_argument = 700.0;
constexpr double overflowing = 1e290;  // a sum that may hold exp(highest_argument)

// exp((a - m) / T) for float32 and narrower: a - m is exact enough in float64, and 2^-34 of relative error is far
// below half an ULP of float32. The polynomial has the least relative error on |r| <= ln(2)/2 (Remez, 4.0e-11).
// Arguments are kept between the bounds; where the caller knows that they are (`within`), that is left out.
constexpr double exp_coefficients[] = {
    0x1.ffffffffabbcep-1, 0x1.000000010b490p+0, 0x1.00000059cbbebp-1,  0x1.555553440456cp-3,
    0x1.55546871a0af4p-5, 0x1.1112fa2a3035fp-7, 0x1.6da4ac7ac6b53p-10, 0x1.9eb726c71680cp-13};
constexpr std::size_t exp_degree = std::size(exp_coefficients) - 1;

template <bool within, class Tempering>
INLINE double exp_argument(double a, double m, Tempering t) {
  double x = a - m;
  if constexpr (std::is_same_v<Tempering, Temperature>) x *= t.inverse;
  if constexpr (!within) {  // NaN passes through
    x = x < lowest_argument ? lowest_argument : x;
    x = highest_argument < x ? highest_argument : x;
  }
  return x;
}
INLINE double exp_shifted(double x) { return x * log2e + round_shift; }
INLINE double exp_rest(double x, double shifted) { return x - (shifted - round_shift) * ln2; }
template <std::size_t i = 0>
INLINE double exp_polynomial(double r) {
  if constexpr (i == exp_degree) return exp_coefficients[i];
  else return exp_polynomial<i + 1>(r) * r + exp_coefficients[i];
}

template <bool within, class Tempering>
INLINE double exp_of_difference(Float32, double a, double m, Tempering t) {
  const double x = exp_argument<within>(a, m, t), shifted = exp_shifted(x);
  return scale_by_power(exp_polynomial(exp_rest(x, shifted)), shifted);
}

// Some numbers as float64. By vectors where there are such types: of a plain loop GCC makes shuffles, which take longer
// than the conversions.
template <std::size_t count, class C>
INLINE void to_float64(const C* from, double* to) {
#if defined(__GNUC__)
  typedef double Vector __attribute__((vector_size(register_bytes)));
  constexpr std::size_t width = register_bytes / sizeof(double);
#pragma GCC unroll 8
  for (std::size_t v = 0; v < count; v += width) {
    Vector vector;
#pragma GCC unroll 8
    for (std::size_t l = 0; l < width; ++l) vector[l] = static_cast<double>(from[v + l]);
    std::memcpy(to + v, &vector, sizeof vector);
  }
#else
  for (std::size_t l = 0; l < count; ++l) to[l] = static_cast<double>(from[l]);
#endif
}

// The same of `count` differences, the l-th from m(l), each step for all of them before the next: every step needs the
// result of the last one, and a processor looks only so far ahead for others that it could do meanwhile.
template <bool within, std::size_t count, class C, class Top, class Tempering>
INLINE void exps_of_differences(Float32, const C* a, Top m, Tempering t, double* result) {
  alignas(64) double x[count], shifted[count], p[count];
  to_float64<count>(a, x);
#pragma omp simd
  for (std::size_t l = 0; l < count; ++l) x[l] = exp_argument<within>(x[l], m(l), t);
#pragma omp simd
  for (std::size_t l = 0; l < count; ++l) shifted[l] = exp_shifted(x[l]);
#pragma omp simd
  for (std::size_t l = 0; l < count; ++l) x[l] = exp_rest(x[l], shifted[l]), p[l] = exp_coefficients[exp_degree];
#pragma GCC unroll 8
  for (std::size_t i = 1; i <= exp_degree; ++i)
#pragma omp simd
    for (std::size_t l = 0; l < count; ++l) p[l] = p[l] * x[l] + exp_coefficients[exp_degree - i];
#pragma omp simd
  for (std::size_t l = 0; l < count; ++l) result[l] = scale_by_power(p[l], shifted[l]);
}

// (exp(r) - 1 - r) / r^2, by Taylor's series to degree 11: exp's own to 13, 4e-18 at |r| = ln(2)/2.
INLINE double exp_series(double r) {
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
  return p;
}

// exp((a - m) / T) for float64. `error` is what a - m lost to rounding (TwoDiff; Knuth, TAOCP vol. 2, 4.2.2), and
// the division; it joins the reduced argument. The polynomial is Taylor's.
// Nothing overflows: m is the largest, and what is far below is kept apart whether `within` is known or not.
template <bool within, class Tempering>
INLINE double exp_of_difference(Float64, double a, double m, Tempering t) {
  double x = a - m;
  const double b = x - a;
  double error = (a - (x - b)) - (m + b);
  if constexpr (std::is_same_v<Tempering, Temperature>) {
    const double quotient = x * t.inverse;
    error = ((std::fma(-quotient, t.value, x) - quotient * t.low) + error) * t.inverse;
    x = quotient;
  }
  const bool below = x < -746.0;  // exp rounds to 0 there; -inf - m has no finite error either
  const double y = below ? -746.0 : x;
  error = below ? 0.0 : error;
  const double shifted = y * log2e + round_shift;
  const double k = shifted - round_shift;
  const double r = ((y - k * ln2_high) - k * ln2_low) + error;
  const double p = (exp_series(r) * r + 1.0) * r + 1.0;
  // 2^k in two factors, so that a subnormal result is rounded once and not flushed
  const double value = scale_by_power(p, shifted + 600.0) * 0x1p-600;
  return below ? 0.0 : (x == x ? value : x);  // whatever a NaN's low bits say
}

template <bool within, std::size_t count, class C, class Top, class Tempering>
INLINE void exps_of_differences(Float64 as, const C* a, Top m, Tempering t, double* result) {
#pragma omp simd
  for (std::size_t l = 0; l < count; ++l) result[l] = exp_of_difference<within>(as, static_cast<double>(a[l]), m(l), t);
}

// Adds x to a sum, and to `lost` what the addition loses (TwoSum).
INLINE void add_to(double& value, double& lost, double x) {
  const double total = value + x, b = total - value;
  lost += (value - (total - b)) + (x - b);
  value = total;
}

// A sum that keeps what each addition loses, so that a wide row's sum is as good as a narrow one's.
struct Sum {
  double value = 0.0, lost = 0.0;
  INLINE void add(double x) { add_to(value, lost, x); }
  INLINE double total() const { return value - value == 0.0 ? value + lost : value; }
};

// log(1 + y) for y >= 0, to about one ULP. With u = fl(1 + y) and c what that lost, log(1 + y) = log u + c/u;
// u = 2^k (1 + f), and log(1 + f) = f - f^2/2 + s (f^2/2 + R) with s = f/(2 + f), R = 2 (s^2/3 + s^4/5 + ...):
// the arrangement of Ng's log in FreeBSD's msun, with the series of atanh itself.
INLINE double log1p_of(double y) {
  const double u = 1.0 + y, back = u - 1.0;
  const double c = (1.0 - (u - back)) + (y - back);
  const std::uint64_t bits = bits_of<std::uint64_t>(u) + (0x3ff0000000000000u - 0x3fe6a09e667f3bcdu);
  // the exponent as a float64, by way of the low bits of 2^52, which has a vector form everywhere
  const double k = bits_of<double>((bits >> 52) | 0x4330000000000000u) - (0x1p52 + 1023.0);
  const double f = bits_of<double>((bits & 0x000fffffffffffffu) + 0x3fe6a09e667f3bcdu) - 1.0;
  const double s = f / (2.0 + f), z = s * s, half = 0.5 * f * f;
  double r = 2.0 / 23.0;
  r = r * z + 2.0 / 21.0;
  r = r * z + 2.0 / 19.0;
  r = r * z + 2.0 / 17.0;
  r = r * z + 2.0 / 15.0;
  r = r * z + 2.0 / 13.0;
  r = r * z + 2.0 / 11.0;
  r = r * z + 2.0 / 9.0;
  r = r * z + 2.0 / 7.0;
  r = r * z + 2.0 / 5.0;
  r = r * z + 2.0 / 3.0;
  return k * ln2_high - ((half - (s * (half + r * z) + (k * ln2_low + c / u))) - f);
}

}  // namespace SET
}  // namespace chainrule
