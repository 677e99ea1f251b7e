// The kernels of a training step, of one FORMAT (float, double) in one instruction SET.
#include <utility>

#include "arithmetic.hpp"

namespace chainrule {
inline namespace SET {
namespace {

using T = FORMAT;

// exp(x) - 1 for x <= 0, to about one ULP: exp(r) - 1 is a series without its 1, and 2^k - 1 is exact.
INLINE double expm1_of(double x) {
  x = x < -40.0 ? -40.0 : x;
  const double shifted = x * log2e + round_shift, k = shifted - round_shift;
  const double r = (x - k * ln2_high) - k * ln2_low;
  const double power = scale_by_power(1.0, shifted);
  return power * (exp_series(r) * r * r + r) + (power - 1.0);
}

// exp(-|a|), in float64's precision or float32's.
INLINE double decayed(double a) {
  const double x = -std::fabs(a);
  if constexpr (sizeof(T) == 8) return exp_of_difference<false>(Float64{}, x, 0.0, NoTemperature{});
  else return exp_of_difference<false>(Float32{}, x, 0.0, NoTemperature{});
}

struct ValueAndSlope {
  double value, slope;
};

INLINE ValueAndSlope logistic_of(double a) {
  const double e = decayed(a), inverse = 1.0 / (1.0 + e);
  return {(a >= 0 ? 1.0 : e) * inverse, e * inverse * inverse};
}
INLINE ValueAndSlope tanh_of(double a) {
  const double m = expm1_of(-2.0 * std::fabs(a)), inverse = 1.0 / (2.0 + m), value = -m * inverse;
  return {a < 0 ? -value : value, 4.0 * (1.0 + m) * inverse * inverse};  // 1 - tanh^2 without its cancellation
}
INLINE ValueAndSlope silu_of(double a) {
  const auto [value, slope] = logistic_of(a);
  return {a * value, value + a * slope};
}
INLINE ValueAndSlope softplus_of(double a) {
  const double e = decayed(a);
  return {(a > 0 ? a : 0.0) + log1p_of(e), (a >= 0 ? 1.0 : e) / (1.0 + e)};
}
INLINE ValueAndSlope gelu_of(double a) {  // the C library's erf, one by one
  const double share = 0.5 * (1.0 + std::erf(a * 0.7071067811865476));
  return {a * share, share + a * std::exp(-0.5 * a * a) * 0.3989422804014327};
}

template <class F>
INLINE void each(T* a, T* h, std::size_t count, F f) {
#pragma omp simd
  for (std::size_t i = 0; i < count; ++i) {
    const ValueAndSlope found = f(static_cast<double>(a[i]));
    h[i] = static_cast<T>(found.value);
    a[i] = static_cast<T>(found.slope);
  }
}

constexpr T leaky_slope = T(0.01);

void activate(Activation g, T* a, T* h, std::size_t count) {
  switch (g) {
    case Activation::identity: return;
    case Activation::relu:
#pragma omp simd
      for (std::size_t i = 0; i < count; ++i) a[i] = a[i] > T(0) ? a[i] : (a[i] != a[i] ? a[i] : T(0));
      return;
    case Activation::leaky_relu:
#pragma omp simd
      for (std::size_t i = 0; i < count; ++i) a[i] = a[i] > T(0) ? a[i] : leaky_slope * a[i];
      return;
    case Activation::tanh: return each(a, h, count, [](double x) { return tanh_of(x); });
    case Activation::logistic: return each(a, h, count, [](double x) { return logistic_of(x); });
    case Activation::silu: return each(a, h, count, [](double x) { return silu_of(x); });
    case Activation::softplus: return each(a, h, count, [](double x) { return softplus_of(x); });
    case Activation::gelu:
      for (std::size_t i = 0; i < count; ++i) {
        const auto [value, slope] = gelu_of(static_cast<double>(a[i]));
        h[i] = static_cast<T>(value), a[i] = static_cast<T>(slope);
      }
  }
}

void times_slope(Activation g, T* grad, const T* slope_or_h, std::size_t count) {
  if (g == Activation::identity) return;
  if (g == Activation::relu || g == Activation::leaky_relu) {
    const T other = g == Activation::relu ? T(0) : leaky_slope;
#pragma omp simd
    for (std::size_t i = 0; i < count; ++i) grad[i] = slope_or_h[i] > T(0) ? grad[i] : other * grad[i];
    return;
  }
#pragma omp simd
  for (std::size_t i = 0; i < count; ++i) grad[i] *= slope_or_h[i];
}

void drop(T* x, std::size_t count, std::uint32_t key, std::uint32_t first, std::uint32_t dropped, T scale) {
#pragma omp simd
  for (std::size_t i = 0; i < count; ++i) {  // a 32-bit mixer (Wellons, "Prospecting for hash functions", 2018)
    std::uint32_t z = (first + static_cast<std::uint32_t>(i)) * 0x9e3779b1u + key;
    z ^= z >> 16, z *= 0x7feb352du, z ^= z >> 15, z *= 0x846ca68bu, z ^= z >> 16;
    x[i] = z < dropped ? T(0) : x[i] * scale;
  }
}

void add_rows(const T* rows_, std::size_t n, std::size_t width_, T* total) {
  std::memset(total, 0, width_ * sizeof(T));
  for (std::size_t r = 0; r < n; ++r)
#pragma omp simd
    for (std::size_t j = 0; j < width_; ++j) total[j] += rows_[r * width_ + j];
}

void scale_row(T* row, std::size_t count, double by) {
#pragma omp simd
  for (std::size_t j = 0; j < count; ++j) row[j] = static_cast<T>(static_cast<double>(row[j]) * by);
}

// -t log s(a) - (1 - t) log s(-a) summed, with s the logistic function; and its gradient, (1 - t) s(a) - t s(-a), in
// which nothing cancels.
double logistic_output(T* logits, const T* targets, std::size_t count, double scale) {
  double loss = 0.0;
#pragma omp simd reduction(+ : loss)
  for (std::size_t i = 0; i < count; ++i) {
    const double a = static_cast<double>(logits[i]), t = static_cast<double>(targets[i]);
    const double e = decayed(a), far = log1p_of(e), near = std::fabs(a) + far, inverse = 1.0 / (1.0 + e);
    const double yes = (a >= 0 ? 1.0 : e) * inverse, no = (a >= 0 ? e : 1.0) * inverse;
    loss += t * (a >= 0 ? far : near) + (1.0 - t) * (a >= 0 ? near : far);
    logits[i] = static_cast<T>(((1.0 - t) * yes - t * no) * scale);
  }
  return loss;
}

// Is the label the first of the largest?
std::size_t count_correct(const T* logits, const std::int64_t* labels, std::size_t n, std::size_t k) {
  std::size_t correct = 0;
  for (std::size_t r = 0; r < n; ++r) {
    const T* a = logits + r * k;
    const auto label = static_cast<std::size_t>(labels[r]);
    const T own = a[label];
    int above = 0;
#pragma omp simd reduction(+ : above)
    for (std::size_t j = 0; j < k; ++j) above += !(a[j] <= own);
    for (std::size_t j = 0; j < label && above == 0; ++j) above += a[j] == own;
    correct += above == 0;
  }
  return correct;
}

double sum_of_squares(const T* x, std::size_t begin, std::size_t end) {
  double sum = 0.0;
#pragma omp simd reduction(+ : sum)
  for (std::size_t i = begin; i < end; ++i) sum += static_cast<double>(x[i]) * static_cast<double>(x[i]);
  return sum;
}

void add_decay(T* gradient, const T* parameters, double decay, std::size_t begin, std::size_t end) {
  const T by = static_cast<T>(decay);
#pragma omp simd
  for (std::size_t i = begin; i < end; ++i) gradient[i] += by * parameters[i];
}

void update(const Update& how, T* __restrict parameters, const T* __restrict gradient, T* __restrict first,
                   T* __restrict second, std::size_t begin, std::size_t end) {
  const T shrink = static_cast<T>(1.0 - how.lr * how.decay), lr = static_cast<T>(how.lr);
  if (how.rule == Rule::sgd) {
    const T momentum = static_cast<T>(how.momentum);
    const T inside = how.lr_in_velocity ? lr : T(1), outside = how.lr_in_velocity ? T(1) : lr;
    if (!first) {
#pragma omp simd
      for (std::size_t i = begin; i < end; ++i) parameters[i] = shrink * parameters[i] - lr * gradient[i];
      return;
    }
#pragma omp simd
    for (std::size_t i = begin; i < end; ++i) {
      const T g = inside * gradient[i], v = momentum * first[i] + g;
      first[i] = v;
      parameters[i] = shrink * parameters[i] - outside * (how.nesterov ? g + momentum * v : v);
    }
    return;
  }
  const T beta1 = static_cast<T>(how.beta1), beta2 = static_cast<T>(how.beta2);
  const T rest1 = static_cast<T>(1.0 - how.beta1), rest2 = static_cast<T>(1.0 - how.beta2);
  const T root_scale = static_cast<T>(how.root_scale), eps = static_cast<T>(how.eps * (how.eps_inside ? how.root_scale : 1.0));
  const T step = static_cast<T>(how.lr * how.step_scale);
#pragma omp simd
  for (std::size_t i = begin; i < end; ++i) {
    const T g = gradient[i];
    const T m = beta1 * first[i] + rest1 * g, v = beta2 * second[i] + rest2 * (g * g);
    first[i] = m, second[i] = v;
    parameters[i] = shrink * parameters[i] - step * (m / (std::sqrt(v) * root_scale + eps));
  }
}

std::pair<double, double> last_step(const Update& how, const T* parameters, const T* gradient, const T* first,
                                    const T* second, std::size_t begin, std::size_t end) {
  double moved = 0.0, size = 0.0;
  const auto add = [&](auto step_of) {
#pragma omp simd reduction(+ : moved, size)
    for (std::size_t i = begin; i < end; ++i) {
      const double step = step_of(i), parameter = static_cast<double>(parameters[i]);
      moved += step * step, size += parameter * parameter;
    }
  };
  const auto number = [](T x) { return static_cast<double>(x); };
  if (how.rule == Rule::adam) {
    const T root_scale = static_cast<T>(how.root_scale), scale = static_cast<T>(how.lr * how.step_scale);
    const T eps = static_cast<T>(how.eps * (how.eps_inside ? how.root_scale : 1.0));
    add([&](std::size_t i) {
      const T root = std::sqrt(second[i]) * root_scale + eps;
      return number(root > T(0) ? scale * (first[i] / root) : T(0));
    });
  } else if (!first) {
    add([&](std::size_t i) { return how.lr * number(gradient[i]); });
  } else {
    const double inside = how.lr_in_velocity ? how.lr : 1.0, outside = how.lr_in_velocity ? 1.0 : how.lr;
    const double of_gradient = how.nesterov ? inside * outside : 0.0;
    const double of_velocity = how.nesterov ? how.momentum * outside : outside;
    add([&](std::size_t i) { return of_gradient * number(gradient[i]) + of_velocity * number(first[i]); });
  }
  return {moved, size};
}

}  // namespace

void fill(TrainingKernels<T>& table) {
  table = {activate, times_slope, drop, add_rows, scale_row, logistic_output, count_correct, add_decay, sum_of_squares, update,
           last_step};
}

}  // namespace SET
}  // namespace chainrule
