// Training: steps of backpropagation over one flat buffer of parameters, as the binding sees them.
//
// The rows of a batch go forward and back by bands, each by one thread: they are gathered, multiplied by the weights,
// activated; their logits become their gradient (output_layer.hpp); and the gradient walks back to each layer's
// pre-activations. Then the parameters' gradients are products over all rows, by bands of the parameters, and chunk by chunk
// the optimizer takes its step. No sum depends on how the bands are cut: any number of threads gives the same bits. Nothing
// is allocated in a step.
#pragma once
#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <new>
#include <utility>
#include <vector>

#include "kernels.hpp"
#include "team.hpp"

namespace chainrule {

// Parameters that are updated together, and the layer whose weights they are, or -1 for biases.
struct Chunk {
  std::size_t begin, end;
  std::ptrdiff_t layer;
};

// The examples of one call, which are visited in `order`. Rows of x are dense, or compressed sparse (CSR). What says where
// memory is touched was checked by the caller, and is checked again as it is read: another thread may have changed it.
template <class T>
struct Examples {
  std::size_t n = 0;  // visited
  const std::int64_t* order = nullptr;
  const T* x = nullptr;
  std::ptrdiff_t x_row = 0;
  const std::int64_t *columns = nullptr, *row_starts = nullptr;  // CSR, with x the `stored` values
  std::int64_t stored = 0;
  const std::int64_t* labels = nullptr;  // of a softmax output; or
  const T* targets = nullptr;            // (N, K) of a logistic one
  const double* weights = nullptr;       // of the examples
  // Where other processes have the other examples of each batch: `order` holds those here, step s's from bounds[s] to
  // bounds[s + 1], at their places in the batches of all.
  const std::int64_t *bounds = nullptr, *places = nullptr;
  std::size_t steps = 0;

  // Where a sparse row begins and ends.
  std::pair<std::int64_t, std::int64_t> row(std::int64_t r) const {
    const std::int64_t first = row_starts[r], last = row_starts[r + 1];
    return {std::max<std::int64_t>(first, 0), std::min(last, stored)};
  }
};

// What adds up the sums of several processes, each of which has some examples of every batch. In each step `call` is given
// the number of layers, when `sums` of this process are there; then each layer, from the last, when the gradient of its
// weights is there, of the first layer's with all biases; and -1, after which all are the sums over the processes. It
// returns whether training can go on.
struct Exchange {
  double* sums = nullptr;                // loss, weight, rightly classified, and whether to stop
  std::function<bool(std::ptrdiff_t)> call;
};

struct Summary {
  double loss = 0.0, weight = 0.0;       // sums over the examples
  std::size_t correct = 0, steps = 0;    // steps that were taken
  bool changed = false;                  // something was out of range after all
  bool finite = true;                    // else the step after them met a loss that is not
  std::vector<double> norms;             // of each layer's weight gradient, summed over the steps
};

template <class T>
struct Training {
  std::vector<std::size_t> widths;       // inputs, units …, classes
  Activation activation = Activation::relu;
  bool logistic = false;                 // K logistic outputs instead of a softmax
  // weights (inputs, units) …, then biases; their gradient, which a step leaves there; and the optimizer's state
  T *parameters = nullptr, *gradient = nullptr, *first = nullptr, *second = nullptr;
  Update update;
  double l2_weights = 0.0, l2_biases = 0.0;  // added to the gradient: l2·θ
  bool l2_by_batch = false;              // divided as the batch's loss is, and in the loss, as scikit-learn does
  double dropout = 0.0, clip_norm = 0.0, label_smoothing = 0.0;
  std::vector<double> class_weights;     // (K,), or empty
  std::uint64_t seed = 0;
  std::size_t batch = 0;
  int threads = 1;

  void prepare();                        // allocates; after the members above are set
  // One step for each batch; lr (steps,); `stop` is asked now and then, and ends the run between two steps.
  Summary run(const Examples<T>& examples, const double* lr, std::uint64_t steps_before,
              const std::function<bool()>& stop, const Exchange* exchange = nullptr);
  // By what share of their norm the step that was taken last changed each layer's weights, but for a decoupled decay.
  std::vector<double> last_step() const;

 private:
  struct Tally {  // of `together` rows
    double loss, weight;
    std::size_t correct;
  };
  // Parameters whose gradient one thread takes: of a layer's weights those of some inputs, or of some units where x is
  // sparse; or all its biases.
  struct Band {
    std::size_t layer, begin, end;
    bool biases;
  };
  std::size_t depth_ = 0, count_ = 0;
  std::vector<std::size_t> weights_at_, biases_at_;
  std::vector<T*> h_, a_, delta_;        // of all rows: activations h_0 …, pre-activations (slopes), their gradients
  std::vector<T*> packed_;               // of each thread
  std::vector<std::int64_t> labels_;
  std::vector<T> losses_, targets_;
  std::vector<Tally> tallies_;
  std::vector<Chunk> chunks_;
  std::vector<Band> bands_, alone_;      // for all threads, and for one
  std::vector<double> squares_, decay_squares_, scratch_;
  struct Free {
    std::align_val_t alignment;
    void operator()(T* memory) const { ::operator delete(memory, alignment); }
  };
  std::vector<std::unique_ptr<T, Free>> memory_;
  std::atomic<bool> changed_{false};
  Pace pace_;
  Trial trial_;
  bool tries_ = false;                   // a step is so short that one thread may be quicker
  const TrainingKernels<T>& kernels_ = kernels<TrainingKernels<T>>();
  const ProductKernels<T>& products_ = kernels<ProductKernels<T>>();
  const RowKernels<T>& rows_ = kernels<RowKernels<T>>();

  // The examples of one step, a batch or what is left of one.
  struct Step {
    const Examples<T>& x;
    const std::int64_t* rows;
    std::size_t n;
    const std::int64_t* places;          // of the rows in the batch, where they are not all of it
    std::uint64_t number;
    double divisor;                      // what the mean divides by
  };

  T* allocate(std::size_t count);
  std::size_t within(std::int64_t value, std::size_t end);
  void first_layer(const Step& step, std::size_t begin, std::size_t end);
  void output(const Step& step, std::size_t begin, std::size_t end, std::size_t thread);
  void run_rows(const Step& step, std::size_t begin, std::size_t end, std::size_t thread, bool alone);
  std::vector<Band> cut_bands(bool sparse, std::size_t team) const;
  void take_gradient(const Step& step, const Band& band, std::size_t thread);
  bool exchange_gradient(const Step& step, Team& team, const Exchange& exchange);
};

}  // namespace chainrule
