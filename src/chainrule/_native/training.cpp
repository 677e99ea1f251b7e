// The steps of training.hpp: which thread does what, and in which order sums are taken.
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

constexpr std::size_t together = 32;  // rows whose losses are summed by one thread
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

  // Some rows are worth a thread when they have some 50 µs of work; below 200, it is tried out.
  const std::size_t pays = std::min(work / 4'000'000, batch / 64), allowed = static_cast<std::size_t>(std::max(threads, 1));
  const std::size_t team = std::clamp<std::size_t>(pays, 1, allowed);
  threads = static_cast<int>(team);
  tries_ = team > 1 && work < team * 16'000'000;
  for (std::size_t k = 0; k <= depth_; ++k) {
    a_.push_back(k ? allocate(batch * widths[k]) : nullptr);
    const bool apart = k == 0 || (k < depth_ && keeps_slopes(activation));
    h_.push_back(apart ? allocate(batch * widths[k]) : a_[k]);
    delta_.push_back(k == 0 ? nullptr : k == depth_ ? a_[k] : allocate(batch * widths[k]));
  }
  for (std::size_t t = 0; t < team; ++t) packed_.push_back(allocate(tall * std::min(batch, deep)));
  labels_.resize(batch), losses_.resize(batch), tallies_.resize((batch + together - 1) / together);
  if (logistic) targets_.resize(batch * widths[depth_]);
  scratch_.resize(team * (scratch_size(widths[depth_]) + 64));
}

// A value below `end`: itself where it is that.
template <class T>
std::size_t Training<T>::within(std::int64_t value, std::size_t end) {
  if (static_cast<std::uint64_t>(value) < end) return static_cast<std::size_t>(value);
  changed_.store(true, std::memory_order_relaxed);
  return 0;
}

template <class T>
void Training<T>::first_layer(const Step& step, std::size_t begin, std::size_t end) {
  const std::size_t inputs = widths[0], units = widths[1];
  const T *w = parameters + weights_at_[0], *bias = parameters + biases_at_[0];
  const Examples<T>& x = step.x;
  if (!x.row_starts) {
    for (std::size_t r = begin; r < end; ++r)
      std::memcpy(h_[0] + r * inputs, x.x + step.rows[r] * x.x_row, inputs * sizeof(T));
    products_.multiply(Product<T>{end - begin, units, inputs, h_[0] + begin * inputs, static_cast<std::ptrdiff_t>(inputs), 1,
                                  w, static_cast<std::ptrdiff_t>(units), 1, a_[1] + begin * units,
                                  static_cast<std::ptrdiff_t>(units), bias});
    return;
  }
  for (std::size_t r = begin; r < end; ++r) {
    T* a = a_[1] + r * units;
    std::memcpy(a, bias, units * sizeof(T));
    const auto [first, last] = x.row(step.rows[r]);
    for (std::int64_t i = first; i < last; ++i) {
      const T value = x.x[i], *from = w + within(x.columns[i], inputs) * units;
      for (std::size_t u = 0; u < units; ++u) a[u] += value * from[u];
    }
  }
}

// The logits of some rows become their gradient; their losses are tallied.
template <class T>
void Training<T>::output(const Step& step, std::size_t begin, std::size_t end, std::size_t thread) {
  const Examples<T>& x = step.x;
  const std::size_t classes = widths[depth_];
  const auto weight_of = [&](std::size_t r) { return x.weights ? x.weights[step.rows[r]] : 1.0; };
  Job<T> job{};
  job.output = Output::gradient, job.n = step.n, job.k = classes;
  job.logits = {a_[depth_], static_cast<std::ptrdiff_t>(classes), 1};
  job.result = {a_[depth_], static_cast<std::ptrdiff_t>(classes), 1};
  job.labels = labels_.data();
  job.class_weights = class_weights.empty() ? nullptr : class_weights.data();
  job.label_smoothing = label_smoothing;
  job.scale = x.weights ? 1.0 : 1.0 / step.divisor;
  job.losses.own = x.weights ? losses_.data() : nullptr;
  for (; begin < end; begin += together) {
    const std::size_t last = std::min(begin + together, end);
    T* const logits = a_[depth_] + begin * classes;
    Tally& tally = tallies_[begin / together] = {0.0, 0.0, 0};
    if (x.labels) {
      for (std::size_t r = begin; r < last; ++r)
        labels_[r] = static_cast<std::int64_t>(within(x.labels[step.rows[r]], classes));
      tally.correct = kernels_.count_correct(logits, labels_.data() + begin, last - begin, classes);
      const double loss = rows_.run(job, begin, last, scratch_.data() + thread * (scratch_size(classes) + 64));
      if (!x.weights) tally.loss = loss;
      for (std::size_t r = begin; r < last; ++r) {
        tally.weight += weight_of(r) * (class_weights.empty() ? 1.0 : class_weights[labels_[r]]);
        if (!x.weights) continue;
        tally.loss += weight_of(r) == 0.0 ? 0.0 : weight_of(r) * static_cast<double>(losses_[r]);
        kernels_.scale_row(a_[depth_] + r * classes, classes, weight_of(r) / step.divisor);
      }
      continue;
    }
    for (std::size_t r = begin; r < last; ++r) {
      T *const a = a_[depth_] + r * classes, *const targets = targets_.data() + r * classes;
      std::memcpy(targets, x.targets + step.rows[r] * static_cast<std::ptrdiff_t>(classes), classes * sizeof(T));
      bool right = true;  // every output on its target's side
      for (std::size_t j = 0; j < classes; ++j) right &= (a[j] > T(0)) == (targets[j] > T(0.5));
      tally.correct += right;
      const double loss = kernels_.logistic_output(a, targets, classes, weight_of(r) / step.divisor);
      tally.loss += weight_of(r) * loss, tally.weight += weight_of(r);
    }
  }
}

// Some rows forward, and their gradients back to every layer's pre-activations.
template <class T>
void Training<T>::run_rows(const Step& step, std::size_t begin, std::size_t end, std::size_t thread, bool alone) {
  if (begin >= end) return;
  const std::size_t n = end - begin;
  const auto dropped = static_cast<std::uint32_t>(std::min(dropout * 4294967296.0, 4294967295.0));
  const T kept = static_cast<T>(1.0 / (1.0 - dropout));
  const auto drop_some = [&](T* values, std::size_t k) {  // by the element's index in the batch
    const std::size_t width = widths[k], together_now = step.places ? 1 : n;
    for (std::size_t r = 0; r < n; r += together_now) {
      const std::size_t place = step.places ? static_cast<std::size_t>(step.places[begin + r]) : begin;
      kernels_.drop(values + r * width, together_now * width, key_of(seed, step.number, k),
                    static_cast<std::uint32_t>(place * width), dropped, kept);
    }
  };
  const bool slopes = keeps_slopes(activation);

  first_layer(step, begin, end);
  for (std::size_t k = 1; k < depth_; ++k) {
    const auto units = static_cast<std::ptrdiff_t>(widths[k]), next = static_cast<std::ptrdiff_t>(widths[k + 1]);
    T *const a = a_[k] + begin * widths[k], *const h = h_[k] + begin * widths[k];
    kernels_.activate(activation, a, h, n * widths[k]);
    if (dropout > 0.0) drop_some(h, k);  // where h tells the slope, it does not where it is 0: there the gradient is 0
    if (dropout > 0.0 && slopes) drop_some(a, k);
    products_.multiply(Product<T>{n, widths[k + 1], widths[k], h, units, 1, parameters + weights_at_[k], next, 1,
                                  a_[k + 1] + begin * widths[k + 1], next, parameters + biases_at_[k]});
  }
  output(step, begin, end, thread);
  for (std::size_t k = depth_; k-- > 0;) {
    if (alone)  // while the layer's gradients are in the caches
      for (const Band& band : alone_)
        if (band.layer == k) take_gradient(step, band, 0);
    if (k == 0) return;
    const auto inputs = static_cast<std::ptrdiff_t>(widths[k]), units = static_cast<std::ptrdiff_t>(widths[k + 1]);
    T* const below = delta_[k] + begin * widths[k];
    products_.multiply(Product<T>{n, widths[k], widths[k + 1], delta_[k + 1] + begin * widths[k + 1], units, 1,
                                  parameters + weights_at_[k], 1, units, below, inputs});
    kernels_.times_slope(activation, below, (slopes ? a_[k] : h_[k]) + begin * widths[k], n * widths[k]);
    if (!slopes && dropout > 0.0) drop_some(below, k);
  }
}

// The gradient of some parameters: a sum over all rows, in their order.
template <class T>
void Training<T>::take_gradient(const Step& step, const Band& band, std::size_t thread) {
  const std::size_t k = band.layer, inputs = widths[k], units = widths[k + 1], width = band.end - band.begin;
  const T* const delta = delta_[k + 1];
  if (band.biases) return kernels_.add_rows(delta, step.n, units, gradient + biases_at_[k]);
  T* const to = gradient + weights_at_[k];
  const Examples<T>& x = step.x;
  if (k > 0 || !x.row_starts) {
    products_.multiply(Product<T>{width, units, step.n, h_[k] + band.begin, 1, static_cast<std::ptrdiff_t>(inputs), delta,
                                  static_cast<std::ptrdiff_t>(units), 1, to + band.begin * units,
                                  static_cast<std::ptrdiff_t>(units), nullptr, false, packed_[thread]});
    return;
  }
  for (std::size_t i = 0; i < inputs; ++i) std::memset(to + i * units + band.begin, 0, width * sizeof(T));
  for (std::size_t r = 0; r < step.n; ++r) {
    const T* g = delta + r * units;
    const auto [first, last] = x.row(step.rows[r]);
    for (std::int64_t i = first; i < last; ++i) {
      T* w = to + within(x.columns[i], inputs) * units;
      for (std::size_t u = band.begin; u < band.end; ++u) w[u] += x.x[i] * g[u];
    }
  }
}

// Which gradients go together: bands broad enough for a product, and enough of them for all threads.
template <class T>
auto Training<T>::cut_bands(bool sparse, std::size_t team) const -> std::vector<Band> {
  std::vector<Band> bands;
  for (std::size_t k = 0; k < depth_; ++k) {
    const std::size_t length = widths[sparse && k == 0 ? 1 : k], each = (length + team * tall - 1) / (team * tall) * team;
    const std::size_t even = ((length + each - 1) / each + 5) / 6 * 6;  // every thread gets as many
    const std::size_t step = team == 1 ? length : std::clamp<std::size_t>(even, 24, tall);
    for (std::size_t i = 0; i < length; i += step) bands.push_back({k, i, std::min(i + step, length), false});
    bands.push_back({k, 0, 0, true});
  }
  return bands;
}

// The gradients of the layers from the last, each handed over while the next is taken. Returns whether to go on.
template <class T>
bool Training<T>::exchange_gradient(const Step& step, Team& team, const Exchange& exchange) {
  double* const sums = exchange.sums;
  sums[0] = sums[1] = sums[2] = 0.0;
  for (std::size_t i = 0; i * together < step.n; ++i)
    sums[0] += tallies_[i].loss, sums[1] += tallies_[i].weight, sums[2] += static_cast<double>(tallies_[i].correct);
  if (!exchange.call(static_cast<std::ptrdiff_t>(depth_))) return false;
  for (std::size_t k = depth_; k-- > 0;) {
    team.run(bands_.size(), [&](std::size_t i, std::size_t thread) {
      if (bands_[i].layer == k) take_gradient(step, bands_[i], thread);
    });
    if (!exchange.call(static_cast<std::ptrdiff_t>(k))) return false;
  }
  return exchange.call(-1);
}

template <class T>
Summary Training<T>::run(const Examples<T>& examples, const double* lr, std::uint64_t steps_before,
                         const std::function<bool()>& stop, const Exchange* exchange) {
  Summary summary;
  changed_ = false;
  summary.norms.assign(depth_, 0.0);
  const bool sparse = examples.row_starts != nullptr;
  bands_ = cut_bands(sparse, static_cast<std::size_t>(threads)), alone_ = cut_bands(sparse, 1);
  auto asked = std::chrono::steady_clock::now();
  std::vector<double> squares(depth_);
  Team team(threads, pace_);  // its own: an epoch would hold the shared threads of pool.hpp for seconds
  const std::size_t steps = exchange ? examples.steps : (examples.n + batch - 1) / batch;
  for (std::size_t s = 0; s < steps; ++s) {
    const auto time = std::chrono::steady_clock::now();
    if (exchange) exchange->sums[3] = 0.0;
    if (time - asked > std::chrono::milliseconds(20)) {
      asked = time;
      const bool stopping = stop();
      if (stopping && !exchange) return summary;
      if (exchange) exchange->sums[3] = stopping ? 1.0 : 0.0;  // all stop together
    }
    const std::size_t begin = exchange ? static_cast<std::size_t>(examples.bounds[s]) : s * batch;
    const std::size_t end = exchange ? static_cast<std::size_t>(examples.bounds[s + 1]) : std::min(begin + batch, examples.n);
    const std::size_t n = end - begin;
    double divisor = exchange ? 1.0 : static_cast<double>(n);  // that of all processes is known later
    if (!exchange && (examples.weights || !class_weights.empty())) {
      divisor = 0.0;
      for (std::size_t i = begin; i < end; ++i) {
        const std::int64_t row = examples.order[i];
        divisor += (examples.weights ? examples.weights[row] : 1.0) *
                   (class_weights.empty() ? 1.0 : class_weights[within(examples.labels[row], class_weights.size())]);
      }
      if (divisor == 0.0) divisor = HUGE_VAL;  // nothing counts
    }
    const Step step{examples, examples.order + begin, n, exchange ? examples.places + begin : nullptr,
                    steps_before + summary.steps + 1, divisor};
    const bool one = threads == 1 || (tries_ && trial_.alone()), alone = one && !exchange;
    const std::size_t parts = one ? 1 : static_cast<std::size_t>(threads);
    const std::size_t rows = (n + parts * together - 1) / (parts * together) * together;
    team.run(parts, [&](std::size_t i, std::size_t thread) {
      run_rows(step, std::min(i * rows, n), std::min((i + 1) * rows, n), thread, alone);
    });
    if (exchange) {
      if (!exchange_gradient(step, team, *exchange) || exchange->sums[3] != 0.0) return summary;
      divisor = exchange->sums[1] == 0.0 ? HUGE_VAL : exchange->sums[1];
      team.run(chunks_.size(), [&](std::size_t c) {
        kernels_.scale_row(gradient + chunks_[c].begin, chunks_[c].end - chunks_[c].begin, 1.0 / divisor);
      }, parts);
    } else if (!alone) team.run(bands_.size(), [&](std::size_t i, std::size_t thread) { take_gradient(step, bands_[i], thread); });
    if (changed_.load(std::memory_order_relaxed)) {
      summary.changed = true;
      return summary;
    }
    Tally all{0.0, 0.0, 0};
    for (std::size_t i = 0; i * together < n; ++i)
      all.loss += tallies_[i].loss, all.weight += tallies_[i].weight, all.correct += tallies_[i].correct;
    if (exchange)
      all = {exchange->sums[0], exchange->sums[1], static_cast<std::size_t>(exchange->sums[2] + 0.5)};
    double loss = all.loss;
    if (!std::isfinite(loss)) {
      summary.finite = false;
      return summary;
    }

    const double by = l2_by_batch ? 1.0 / divisor : 1.0;
    update.lr = lr[summary.steps];
    if (update.rule == Rule::adam) {
      const double t = static_cast<double>(step.number);
      update.step_scale = 1.0 / (1.0 - std::pow(update.beta1, t));
      update.root_scale = 1.0 / std::sqrt(1.0 - std::pow(update.beta2, t));
    }
    const auto gather = [&](std::size_t c) {
      squares_[c] = kernels_.sum_of_squares(gradient, chunks_[c].begin, chunks_[c].end);
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
      team.run(chunks_.size(), gather, parts);
      double total = 0.0;
      for (const double square : squares_) total += square;
      kept = std::min(1.0, clip_norm / (std::sqrt(total) + 1e-6));
      team.run(chunks_.size(), change, parts);
    } else {
      team.run(chunks_.size(), [&](std::size_t c) { gather(c), change(c); }, parts);
    }

    std::fill(squares.begin(), squares.end(), 0.0);
    for (std::size_t c = 0; c < chunks_.size(); ++c)
      if (chunks_[c].layer >= 0) squares[static_cast<std::size_t>(chunks_[c].layer)] += squares_[c];
    for (std::size_t k = 0; k < depth_; ++k) summary.norms[k] += std::sqrt(squares[k]);
    if (l2_by_batch)  // (l2/2) |W|^2 / n for the mean, so (l2/2) |W|^2 for the sum over the batch
      for (const double square : decay_squares_) loss += 0.5 * square;
    summary.loss += loss, summary.weight += all.weight, summary.correct += all.correct;
    ++summary.steps;
    if (tries_ && n == batch) trial_.took(std::chrono::steady_clock::now() - time);
  }
  return summary;
}

template <class T>
std::vector<double> Training<T>::last_step() const {
  std::vector<double> shares;
  for (std::size_t k = 0; k < depth_; ++k) {
    const std::size_t begin = weights_at_[k], end = begin + widths[k] * widths[k + 1];
    const auto [moved, size] = kernels_.last_step(update, parameters, gradient, first, second, begin, end);
    shares.push_back(size > 0.0 ? std::sqrt(moved / size) : 0.0);
  }
  return shares;
}

template struct Training<float>;
template struct Training<double>;

}  // namespace chainrule
