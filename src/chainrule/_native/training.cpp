// The steps of training.hpp: which shard does what, on which thread, and in which order sums are taken.
#include "training.hpp"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstring>

#ifdef __linux__
#include <sys/mman.h>
#endif

namespace chainrule {
namespace {

constexpr std::size_t chunk = 4096;  // parameters that are updated together: they stay in the first cache

// A key for each step and layer (splitmix64; Steele, Lea and Flood, 2014).
std::uint32_t key_of(std::uint64_t seed, std::uint64_t step, std::uint64_t layer) {
  std::uint64_t z = seed + 0x9e3779b97f4a7c15u * (step * 64 + layer + 1);
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return static_cast<std::uint32_t>((z ^ (z >> 31)) >> 32);
}

}  // namespace

// Zeroed, since a vector reads beyond an array's end, and in large pages where that pays: a product that walks down the
// columns of a wide matrix meets a new page with every row.
template <class T>
T* Training<T>::allocate(std::size_t count) {
  constexpr std::size_t large = 1 << 21, line = 64;
  std::size_t bytes = (count + 2 * line / sizeof(T)) * sizeof(T);
  const std::size_t alignment = bytes < large / 4 ? line : large;
  bytes = (bytes + alignment - 1) / alignment * alignment;
  const std::align_val_t align{alignment};
  memory_.emplace_back(static_cast<T*>(::operator new(bytes, align)), Free{align});
#ifdef __linux__
  if (alignment == large) madvise(memory_.back().get(), bytes, MADV_HUGEPAGE);
#endif
  std::memset(static_cast<void*>(memory_.back().get()), 0, bytes);
  return memory_.back().get();
}

template <class T>
void Training<T>::prepare() {
  depth_ = widths.size() - 1;
  std::size_t at = 0, work = 0;
  for (std::size_t k = 0; k < depth_; ++k) {
    weights_at_.push_back(at);
    at += widths[k] * widths[k + 1];
    work += (k ? 6 : 4) * widths[k] * widths[k + 1] * batch;
  }
  for (std::size_t k = 0; k < depth_; ++k) biases_at_.push_back(at), at += widths[k + 1];
  count_ = at;
  const auto split = [&](std::size_t begin, std::size_t end, std::ptrdiff_t layer) {
    for (; begin < end; begin += chunk) chunks_.push_back({begin, std::min(begin + chunk, end), layer});
  };
  for (std::size_t k = 0; k < depth_; ++k)
    split(weights_at_[k], weights_at_[k] + widths[k] * widths[k + 1], static_cast<std::ptrdiff_t>(k));
  split(biases_at_[0], count_, -1);
  squares_.resize(chunks_.size()), decay_squares_.resize(chunks_.size());

  // A shard is worth a thread when it has a quarter of a millisecond's work, and rows enough for its weight gradients.
  const std::size_t pays = std::min(work / 20'000'000, batch / 64), allowed = static_cast<std::size_t>(std::max(threads, 1));
  const std::size_t n_shards = std::clamp<std::size_t>(pays, 1, allowed), n = (batch + n_shards - 1) / n_shards;
  threads = static_cast<int>(n_shards);
  const std::size_t widest = *std::max_element(widths.begin(), widths.end());
  for (std::size_t s = 0; s < n_shards; ++s) {
    Shard shard;
    shard.h.push_back(allocate(n * widths[0])), shard.a.push_back(nullptr);
    for (std::size_t k = 1; k <= depth_; ++k) {
      shard.a.push_back(allocate(n * widths[k]));
      shard.h.push_back(k < depth_ && keeps_slopes(activation) ? allocate(n * widths[k]) : shard.a[k]);
    }
    shard.grad[0] = allocate(n * widest), shard.grad[1] = allocate(n * widest);
    shard.gradient = s ? allocate(count_) : gradient;
    shard.packed = allocate(tall * std::min(n, deep));
    shard.labels.resize(n), shard.losses.resize(n), shard.weights.resize(n);
    if (logistic) shard.targets.resize(n * widths[depth_]);
    shards_.push_back(std::move(shard));
  }
  scratch_.resize(n_shards * (scratch_size(widths[depth_]) + 64));
}

// A value below `end`: itself where it is that.
template <class T>
std::size_t Training<T>::within(std::int64_t value, std::size_t end) {
  if (static_cast<std::uint64_t>(value) < end) return static_cast<std::size_t>(value);
  changed_.store(true, std::memory_order_relaxed);
  return 0;
}

template <class T>
void Training<T>::first_layer(const Examples<T>& x, const std::int64_t* rows, std::size_t n, Shard& shard) {
  const std::size_t inputs = widths[0], units = widths[1];
  const T *w = parameters + weights_at_[0], *bias = parameters + biases_at_[0];
  if (!x.row_starts) {
    for (std::size_t r = 0; r < n; ++r)
      std::memcpy(shard.h[0] + r * inputs, x.x + rows[r] * x.x_row, inputs * sizeof(T));
    products_.multiply(Product<T>{n, units, inputs, shard.h[0], static_cast<std::ptrdiff_t>(inputs), 1, w,
                        static_cast<std::ptrdiff_t>(units), 1, shard.a[1], static_cast<std::ptrdiff_t>(units), bias});
    return;
  }
  for (std::size_t r = 0; r < n; ++r) {
    T* a = shard.a[1] + r * units;
    std::memcpy(a, bias, units * sizeof(T));
    const auto [first, last] = x.row(rows[r]);
    for (std::int64_t i = first; i < last; ++i) {
      const T value = x.x[i], *from = w + within(x.columns[i], inputs) * units;
      for (std::size_t u = 0; u < units; ++u) a[u] += value * from[u];
    }
  }
}

template <class T>
void Training<T>::first_gradient(const Examples<T>& x, const std::int64_t* rows, std::size_t n, Shard& shard,
                                 const T* grad) {
  const std::size_t inputs = widths[0], units = widths[1];
  T* to = shard.gradient + weights_at_[0];
  if (!x.row_starts) {
    products_.multiply(Product<T>{inputs, units, n, shard.h[0], 1, static_cast<std::ptrdiff_t>(inputs), grad,
                        static_cast<std::ptrdiff_t>(units), 1, to, static_cast<std::ptrdiff_t>(units), nullptr, false,
                        shard.packed});
    return;
  }
  std::memset(to, 0, inputs * units * sizeof(T));
  for (std::size_t r = 0; r < n; ++r) {
    const T* g = grad + r * units;
    const auto [first, last] = x.row(rows[r]);
    for (std::int64_t i = first; i < last; ++i) {
      T* w = to + within(x.columns[i], inputs) * units;
      for (std::size_t u = 0; u < units; ++u) w[u] += x.x[i] * g[u];
    }
  }
}

// Rows [begin, end) of the order, forward and back. `divisor` is what the batch's mean divides by.
template <class T>
void Training<T>::run_shard(std::size_t index, const Examples<T>& x, std::size_t begin, std::size_t end,
                            std::uint64_t step, double divisor) {
  Shard& shard = shards_[index];
  const std::size_t n = end - begin, classes = widths[depth_];
  const std::int64_t* rows = x.order + begin;
  shard.loss = shard.weight = 0.0, shard.correct = 0;
  if (n == 0) return std::memset(shard.gradient, 0, count_ * sizeof(T)), void();
  const auto dropped = static_cast<std::uint32_t>(std::min(dropout * 4294967296.0, 4294967295.0));
  const T kept = static_cast<T>(1.0 / (1.0 - dropout));
  // the element's index in the batch, so that the mask is of the batch and not of its shards
  const auto drop_some = [&](T* values, std::size_t k) {
    const std::size_t first_row = index * ((batch + shards_.size() - 1) / shards_.size());
    kernels_.drop(values, n * widths[k], key_of(seed, step, k), static_cast<std::uint32_t>(first_row * widths[k]), dropped, kept);
  };

  first_layer(x, rows, n, shard);
  for (std::size_t k = 1; k < depth_; ++k) {
    const auto units = static_cast<std::ptrdiff_t>(widths[k]), next = static_cast<std::ptrdiff_t>(widths[k + 1]);
    kernels_.activate(activation, shard.a[k], shard.h[k], n * widths[k]);
    if (!keeps_slopes(activation) && dropout > 0.0) {  // h tells the slope where it is not 0, and there the gradient is 0
      drop_some(shard.h[k], k);
    } else if (dropout > 0.0) {
      drop_some(shard.h[k], k), drop_some(shard.a[k], k);
    }
    products_.multiply(Product<T>{n, widths[k + 1], widths[k], shard.h[k], units, 1, parameters + weights_at_[k], next, 1,
                        shard.a[k + 1], next, parameters + biases_at_[k]});
  }

  T* logits = shard.a[depth_];
  if (x.labels) {
    for (std::size_t r = 0; r < n; ++r) shard.labels[r] = static_cast<std::int64_t>(within(x.labels[rows[r]], classes));
    shard.correct = kernels_.count_correct(logits, shard.labels.data(), n, classes);
  } else {
    for (std::size_t r = 0; r < n; ++r)
      std::memcpy(shard.targets.data() + r * classes, x.targets + rows[r] * static_cast<std::ptrdiff_t>(classes),
                  classes * sizeof(T));
  }
  const auto weight_of = [&](std::size_t r) { return x.weights ? x.weights[rows[r]] : 1.0; };
  if (x.labels) {
    Job<T> job{};
    job.output = Output::gradient, job.n = n, job.k = classes;
    job.logits = {logits, static_cast<std::ptrdiff_t>(classes), 1};
    job.result = {logits, static_cast<std::ptrdiff_t>(classes), 1};
    job.labels = shard.labels.data();
    job.class_weights = class_weights.empty() ? nullptr : class_weights.data();
    job.label_smoothing = label_smoothing;
    job.scale = x.weights ? 1.0 : 1.0 / divisor;
    job.losses = x.weights ? shard.losses.data() : nullptr;
    const double loss = rows_.run(job, 0, n, scratch_.data() + index * (scratch_size(classes) + 64));
    if (!x.weights) shard.loss = loss;
    for (std::size_t r = 0; r < n; ++r) {
      shard.weight += weight_of(r) * (class_weights.empty() ? 1.0 : class_weights[shard.labels[r]]);
      if (!x.weights) continue;
      shard.loss += weight_of(r) == 0.0 ? 0.0 : weight_of(r) * static_cast<double>(shard.losses[r]);
      kernels_.scale_row(logits + r * classes, classes, weight_of(r) / divisor);
    }
  } else {
    for (std::size_t r = 0; r < n; ++r) {
      bool right = true;  // every output on its target's side
      for (std::size_t j = 0; j < classes; ++j)
        right &= (logits[r * classes + j] > T(0)) == (shard.targets[r * classes + j] > T(0.5));
      shard.correct += right;
      const double loss = kernels_.logistic_output(logits + r * classes, shard.targets.data() + r * classes, classes,
                                          weight_of(r) / divisor);
      shard.loss += weight_of(r) * loss, shard.weight += weight_of(r);
    }
  }

  const T* grad = logits;
  for (std::size_t k = depth_; k-- > 0;) {
    const auto inputs = static_cast<std::ptrdiff_t>(widths[k]), units = static_cast<std::ptrdiff_t>(widths[k + 1]);
    kernels_.add_rows(grad, n, widths[k + 1], shard.gradient + biases_at_[k]);
    if (k == 0) return first_gradient(x, rows, n, shard, grad);
    products_.multiply(Product<T>{widths[k], widths[k + 1], n, shard.h[k], 1, inputs, grad, units, 1,
                        shard.gradient + weights_at_[k], units, nullptr, false, shard.packed});
    T* below = shard.grad[k % 2];
    products_.multiply(Product<T>{n, widths[k], widths[k + 1], grad, units, 1, parameters + weights_at_[k], 1, units, below, inputs});
    const bool slopes = keeps_slopes(activation);
    kernels_.times_slope(activation, below, slopes ? shard.a[k] : shard.h[k], n * widths[k]);
    if (!slopes && dropout > 0.0) drop_some(below, k);
    grad = below;
  }
}

template <class T>
Summary Training<T>::run(const Examples<T>& examples, const double* lr, std::uint64_t steps_before,
                         const std::function<bool()>& stop) {
  Summary summary;
  changed_ = false;
  summary.norms.assign(depth_, 0.0);
  std::vector<const T*> others;
  for (std::size_t s = 1; s < shards_.size(); ++s) others.push_back(shards_[s].gradient);
  auto asked = std::chrono::steady_clock::now();
  std::vector<double> squares(depth_);
  Team team(threads, pace_);  // its own: an epoch would hold the shared threads of pool.hpp for seconds
  for (std::size_t begin = 0; begin < examples.n; begin += batch) {
    const auto time = std::chrono::steady_clock::now();
    if (time - asked > std::chrono::milliseconds(20)) {
      asked = time;
      if (stop()) return summary;
    }
    const std::size_t end = std::min(begin + batch, examples.n), n = end - begin;
    const std::size_t per_shard = (batch + shards_.size() - 1) / shards_.size();
    double divisor = static_cast<double>(n);
    if (examples.weights || !class_weights.empty()) {
      divisor = 0.0;
      for (std::size_t i = begin; i < end; ++i) {
        const std::int64_t row = examples.order[i];
        divisor += (examples.weights ? examples.weights[row] : 1.0) *
                   (class_weights.empty() ? 1.0 : class_weights[within(examples.labels[row], class_weights.size())]);
      }
      if (divisor == 0.0) divisor = HUGE_VAL;  // nothing counts
    }
    const std::uint64_t step = steps_before + summary.steps + 1;
    team.run(shards_.size(), [&](std::size_t s) {
      run_shard(s, examples, std::min(begin + s * per_shard, end), std::min(begin + (s + 1) * per_shard, end), step, divisor);
    });
    if (changed_.load(std::memory_order_relaxed)) {
      summary.changed = true;
      return summary;
    }
    double loss = 0.0;
    for (const Shard& shard : shards_) loss += shard.loss;
    if (!std::isfinite(loss)) {
      summary.finite = false;
      return summary;
    }

    const double by = l2_by_batch ? 1.0 / divisor : 1.0;
    update.lr = lr[summary.steps];
    if (update.rule == Rule::adam) {
      const double t = static_cast<double>(step);
      update.step_scale = 1.0 / (1.0 - std::pow(update.beta1, t));
      update.root_scale = 1.0 / std::sqrt(1.0 - std::pow(update.beta2, t));
    }
    const auto gather = [&](std::size_t c) {
      squares_[c] = kernels_.sum_gradient(gradient, others.data(), others.size(), chunks_[c].begin, chunks_[c].end);
    };
    double kept = 1.0;  // of the gradient, after clipping; the decay is added to what is kept, as PyTorch does
    const auto change = [&](std::size_t c) {
      const auto [from, to, layer] = chunks_[c];
      if (kept != 1.0) kernels_.scale_row(gradient + from, to - from, kept);
      const double decay = layer < 0 ? l2_biases : l2_weights;
      if (decay != 0.0) {
        if (l2_by_batch) decay_squares_[c] = decay * kernels_.sum_of_squares(parameters, from, to);
        kernels_.add_decay(gradient, parameters, decay * by, from, to);
      }
      kernels_.update(update, parameters, gradient, first, second, from, to);
    };
    if (clip_norm > 0.0) {
      team.run(chunks_.size(), gather);
      double total = 0.0;
      for (const double square : squares_) total += square;
      kept = std::min(1.0, clip_norm / (std::sqrt(total) + 1e-6));
      team.run(chunks_.size(), change);
    } else {
      team.run(chunks_.size(), [&](std::size_t c) { gather(c), change(c); });
    }

    std::fill(squares.begin(), squares.end(), 0.0);
    for (std::size_t c = 0; c < chunks_.size(); ++c)
      if (chunks_[c].layer >= 0) squares[static_cast<std::size_t>(chunks_[c].layer)] += squares_[c];
    for (std::size_t k = 0; k < depth_; ++k) summary.norms[k] += std::sqrt(squares[k]);
    if (l2_by_batch)  // (l2/2) |W|^2 / n for the mean, so (l2/2) |W|^2 for the sum over the batch
      for (const double square : decay_squares_) loss += 0.5 * square;
    for (const Shard& shard : shards_) summary.weight += shard.weight, summary.correct += shard.correct;
    summary.loss += loss;
    ++summary.steps;
  }
  return summary;
}

template struct Training<float>;
template struct Training<double>;

}  // namespace chainrule
