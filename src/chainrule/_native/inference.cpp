// Some rows go through all layers before the next ones begin, so that what lies between two layers stays in the second
// cache, and threads share nothing but the weights.
//
// An example's answer has the same bits alone and among others, whatever the number of threads: a product adds up one
// element of its result in the order of k, however its rows are cut. Weights that lie by units, as `Network` has them, are
// turned once where there are rows enough to pay for it.
#include "inference.hpp"

#include <algorithm>
#include <memory>

#include "pool.hpp"

namespace chainrule {
namespace {

constexpr std::size_t pays_threads = 1 << 20;  // multiplications; below, waking a thread costs more than it gives

template <class T>
std::size_t rows_together(std::size_t widest) {
  return std::clamp<std::size_t>((512 << 10) / (2 * widest * sizeof(T)) / 12 * 12, 24, tall);
}

// W by rows of inputs, in one run.
template <class T>
void turn(const Layer<T>& from, std::size_t first, std::size_t last, T* to) {
  constexpr std::size_t side = 16;
  for (std::size_t i = first; i < last; i += side)
    for (std::size_t u = 0; u < from.units; ++u)
      for (std::size_t r = i; r < std::min(i + side, last); ++r)
        to[r * from.units + u] = from.weights[static_cast<std::ptrdiff_t>(r) * from.by_input + static_cast<std::ptrdiff_t>(u) * from.by_unit];
}

}  // namespace

template <class T>
void infer(const std::vector<Layer<T>>& given, Activation activation, const Matrix<const T>& x, std::size_t n, T* result,
           bool softmax, int threads) {
  if (n == 0) return;
  std::vector<Layer<T>> layers = given;
  std::size_t widest = 1, work = 0, to_turn = 0;
  for (const Layer<T>& layer : layers) {
    if (&layer != &layers.back()) widest = std::max(widest, layer.units);
    work += layer.inputs * layer.units;
    if (layer.by_unit != 1) to_turn += layer.inputs * layer.units;
  }
  std::size_t team = n * work < pays_threads ? 1 : static_cast<std::size_t>(std::max(threads, 1));
  const std::size_t rows = std::min(rows_together<T>(widest), ((n + team - 1) / team + 11) / 12 * 12);
  const std::size_t blocks = (n + rows - 1) / rows;
  team = std::min(team, blocks);

  const std::unique_ptr<T[]> turned(new T[n > tall ? to_turn : 0]);
  if (n > tall) {
    T* to = turned.get();
    for (Layer<T>& layer : layers) {
      if (layer.by_unit == 1) continue;
      const std::size_t parts = (layer.inputs + 63) / 64;
      share(parts, team, [&](std::size_t i, std::size_t) { turn(layer, i * 64, std::min(i * 64 + 64, layer.inputs), to); });
      layer.weights = to, layer.by_input = static_cast<std::ptrdiff_t>(layer.units), layer.by_unit = 1;
      to += layer.inputs * layer.units;
    }
  }

  const std::size_t k = layers.back().units, size = rows * widest + 64, scratch = softmax ? scratch_size(k) : 0;
  const std::unique_ptr<T[]> between(new T[layers.size() > 1 ? team * 3 * size : 0]);
  const std::unique_ptr<double[]> exponentials(new double[team * (scratch + 8)]);
  const TrainingKernels<T>& kernel = kernels<TrainingKernels<T>>();
  const ProductKernels<T>& product = kernels<ProductKernels<T>>();
  const RowKernels<T>& row = kernels<RowKernels<T>>();
  Job<T> job{};
  job.output = Output::softmax, job.n = n, job.k = k;
  job.logits = {result, static_cast<std::ptrdiff_t>(k), 1}, job.result = {result, static_cast<std::ptrdiff_t>(k), 1};
  share(blocks, team, [&](std::size_t block, std::size_t thread) {
    const std::size_t begin = block * rows, end = std::min(begin + rows, n), m = end - begin;
    T *values = between.get() + thread * 3 * size, *next = values + size, *slopes = next + size;
    const T* h = x.data + static_cast<std::ptrdiff_t>(begin) * x.row_stride;
    std::ptrdiff_t h_row = x.row_stride, h_column = x.column_stride;
    for (const Layer<T>& layer : layers) {
      const bool is_last = &layer == &layers.back(), apart = keeps_slopes(activation);
      T* const a = is_last ? result + begin * k : apart ? slopes : next;
      product.multiply(Product<T>{m, layer.units, layer.inputs, h, h_row, h_column, layer.weights, layer.by_input,
                                  layer.by_unit, a, static_cast<std::ptrdiff_t>(layer.units), layer.biases});
      if (is_last) break;
      kernel.activate(activation, a, next, m * layer.units);
      h = next, h_row = static_cast<std::ptrdiff_t>(layer.units), h_column = 1;
      std::swap(values, next);
    }
    if (softmax) row.run(job, begin, end, exponentials.get() + thread * (scratch + 8));
  });
}

template void infer(const std::vector<Layer<float>>&, Activation, const Matrix<const float>&, std::size_t, float*, bool, int);
template void infer(const std::vector<Layer<double>>&, Activation, const Matrix<const double>&, std::size_t, double*, bool,
                    int);

}  // namespace chainrule
