// The border between what is compiled once and what is compiled once for each instruction set.
//
// rows.cpp, product.cpp and training_kernels.cpp are compiled for each number format and for each set that CMakeLists.txt
// names, each time in a namespace of the set's own (SET), so that no function of one set can stand in for another's. They
// leave their functions in the tables below; instruction_set.cpp chooses whose tables are used, and every call goes
// through those. Here are these tables and the plain records that they are given: no code that a linker could share.
#pragma once
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <utility>

#if defined(__GNUC__)
#define INLINE inline __attribute__((always_inline))
#define APART __attribute__((noinline))  // compiled once where several would inline it
#elif defined(_MSC_VER)
#define INLINE __forceinline
#define APART __declspec(noinline)
#else
#define INLINE inline
#define APART
#endif

#ifndef SET
#define SET everywhere  // what is compiled once
#endif

namespace chainrule {

// Storage formats of 16 bits; NumPy hands them over as their bits.
struct bfloat16 {
  std::uint16_t bits;
};
struct float16 {
  std::uint16_t bits;
};

// ---- the output layer ----

constexpr std::size_t block = 256;  // logits that are loaded, or stored, at once: a row's scratch is so much longer

enum class Output { gradient, softmax, log_softmax, hessian_diagonal, hessian_vector_product };

// A matrix of N rows and K columns, with any strides, in elements.
template <class T>
struct Matrix {
  T* data = nullptr;
  std::ptrdiff_t row_stride = 0, column_stride = 0;
};

// A number for each row, in the logits' format or in float32.
template <class T>
struct Column {
  T* own = nullptr;
  float* wide = nullptr;
  INLINE explicit operator bool() const { return own || wide; }
};

template <class T>
struct Job {
  Output output;
  std::size_t n, k;
  Matrix<const T> logits;
  Matrix<T> result;                         // may be the logits themselves
  const std::int64_t* labels = nullptr;     // (N,), checked by the caller, and again as they are read; or
  Matrix<const T> second;                   // (N, K): the targets, or the vectors of Hessian-vector products
  const double* class_weights = nullptr;    // (K,)
  bool ignores = false;
  std::int64_t ignored = 0;
  double label_smoothing = 0.0, temperature = 1.0, z_loss = 0.0;
  double multiplier = 1.0, softcap = 0.0;   // of the logits: c tanh(s a/c) with s and c; 0 for no cap
  double scale = 1.0;                       // of every gradient: 1, or what a mean divides by
  std::atomic<bool>* changed = nullptr;     // set where a label that is read is out of range after all
  // What is written beside the result, where it is asked for: (N,) each, but for the probabilities.
  Column<T> losses;
  Matrix<T> probabilities;
  Column<T> logsumexp, log_likelihood, entropy;
  std::int64_t* prediction = nullptr;
  bool* correct = nullptr;
};

// What a thread needs: one row of exponentials, or with options seven.
INLINE std::size_t scratch_size(std::size_t k) { return 7 * (k + block); }

template <class T>
struct RowKernels {
  // Runs some rows on this thread, and returns the sum of their losses; `scratch` holds scratch_size(k) numbers.
  double (*run)(const Job<T>& job, std::size_t begin, std::size_t end, double* scratch);
};

// ---- the matrix product ----

// C = A B, C = A B + bias, or C += A B, with A (m, k) and B (k, n) of any strides, C (m, n) by rows.
template <class T>
struct Product {
  std::size_t m, n, k;
  const T* a;
  std::ptrdiff_t a_row, a_column;
  const T* b;
  std::ptrdiff_t b_row, b_column;
  T* c;
  std::ptrdiff_t c_row;
  const T* bias = nullptr;
  bool adds = false;
  T* packed = nullptr;  // room for packed_size(*this) numbers, so that a transposed A is not read a column at a time
};

constexpr std::size_t tall = 192, deep = 320;  // the part of A that is packed together: it stays in the second cache

template <class T>
INLINE std::size_t packed_size(const Product<T>& job) {
  return job.a_row == 1 && job.n > 32 ? tall * (job.k < deep ? job.k : deep) : 0;
}

template <class T>
struct ProductKernels {
  void (*multiply)(const Product<T>& job);
};

// ---- a training step ----

// with the names of activations.py beside them; of the first three h tells the slope
enum class Activation { identity, relu, leaky_relu, tanh, logistic, gelu, silu, softplus };
inline constexpr const char* activation_names[] = {"identity", "relu", "leaky_relu", "tanh",
                                                   "logistic", "gelu", "silu",       "softplus"};
INLINE bool keeps_slopes(Activation g) { return g > Activation::leaky_relu; }
enum class Rule { sgd, adam };

// What a step does to the parameters; equations in optimizers.py.
struct Update {
  Rule rule = Rule::adam;
  double momentum = 0.0, beta1 = 0.9, beta2 = 0.999, eps = 1e-8;
  bool nesterov = false;
  bool lr_in_velocity = false;  // v ← μv + lr·g, as scikit-learn has it
  bool eps_inside = false;      // ε beside √v before it is corrected for bias, as scikit-learn has it
  double decay = 0.0;           // decoupled: θ ← θ − lr·decay·θ first
  // of one step
  double lr = 0.0, step_scale = 1.0, root_scale = 1.0;
};

template <class T>
struct TrainingKernels {
  // pre-activations a to activations h, and a to the slopes g'(a), unless h is a, where h tells the slope
  void (*activate)(Activation g, T* a, T* h, std::size_t count);
  void (*times_slope)(Activation g, T* grad, const T* slope_or_h, std::size_t count);
  // scales what is kept, sets to 0 what is dropped; the element's index and the key decide
  void (*drop)(T* x, std::size_t count, std::uint32_t key, std::uint32_t first, std::uint32_t dropped, T scale);
  void (*add_rows)(const T* rows, std::size_t n, std::size_t width, T* total);
  void (*scale_row)(T* row, std::size_t count, double by);
  double (*logistic_output)(T* logits, const T* targets, std::size_t count, double scale);
  std::size_t (*count_correct)(const T* logits, const std::int64_t* labels, std::size_t n, std::size_t k);
  void (*add_decay)(T* gradient, const T* parameters, double decay, std::size_t begin, std::size_t end);
  double (*sum_of_squares)(const T* x, std::size_t begin, std::size_t end);
  void (*update)(const Update& how, T* parameters, const T* gradient, T* first, T* second, std::size_t begin,
                 std::size_t end);
  // the sums of squares of the step that `update` took last, but for a decoupled decay, and of the parameters
  std::pair<double, double> (*last_step)(const Update& how, const T* parameters, const T* gradient, const T* first,
                                         const T* second, std::size_t begin, std::size_t end);
};

// The table of the set that runs, T one of the three above.
template <class Table>
const Table& kernels();

}  // namespace chainrule
