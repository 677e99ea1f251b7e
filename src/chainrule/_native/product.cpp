// The matrix product of one FORMAT (float, double) in one instruction SET.
//
// A tile of 6 x 2 vectors of C is kept in registers while k is walked: per step of k two vectors of B are read and six
// numbers of A are spread out, for twelve multiply-adds. B is copied into a narrow panel, which stays in the first cache,
// where its rows lie far apart or its width is no whole number of vectors; a transposed A is copied tile by tile, since
// its columns would meet a new cache line with each number. A row alone needs each number of B once, and takes it from
// where it lies. The product reaches the processor's peak once its operands are in the second cache, which is where a
// training step's are, and has none of a BLAS's start-up costs and threads.
#include <cstring>
#include <type_traits>

#include "arithmetic.hpp"

namespace chainrule {
inline namespace SET {
namespace {

using T = FORMAT;

// As wide as the set's registers; with GCC and Clang a vector type, because a plain array of sums is not always kept in
// registers; elsewhere a plain array.
constexpr std::size_t bytes = register_bytes;
constexpr std::size_t width = bytes / sizeof(T);
constexpr std::size_t half = bytes == 64 ? width / 2 : 0;  // of few columns, where half a register holds several
#if defined(__GNUC__)
typedef T Vector __attribute__((vector_size(bytes)));
typedef T Square __attribute__((vector_size(32)));
typedef T Half __attribute__((vector_size(bytes / 2)));
typedef T HalfRow __attribute__((vector_size(16)));  // half a square's row
#define FETCH(address) __builtin_prefetch(address, 1)
#else
template <std::size_t size>
struct Numbers {
  T x[size / sizeof(T)];
  INLINE friend Numbers operator*(T a, const Numbers& b) {
    Numbers r;
    for (std::size_t l = 0; l < size / sizeof(T); ++l) r.x[l] = a * b.x[l];
    return r;
  }
  INLINE Numbers& operator+=(const Numbers& b) {
    for (std::size_t l = 0; l < size / sizeof(T); ++l) x[l] += b.x[l];
    return *this;
  }
};
using Vector = Numbers<bytes>;
using Square = Numbers<32>;
using Half = Numbers<bytes / 2>;
using HalfRow = Numbers<16>;
#define FETCH(address)
#endif
template <class V = Vector>
INLINE V load(const T* x) {
  V v;
  std::memcpy(&v, x, sizeof v);
  return v;
}
template <class V>
INLINE void store(T* x, const V& v) {
  std::memcpy(x, &v, sizeof v);
}

#if defined(__has_builtin)
#if __has_builtin(__builtin_shufflevector)
#define CHAINRULE_SHUFFLES
#endif
#endif

constexpr std::size_t side = 32 / sizeof(T);  // of a square that is transposed in registers

// `side` rows of `from`, `step` apart, become the `side` vectors of a square's columns. A vector is put together of halves
// of two rows as they are loaded: what is left to do is within each half, two shuffles a vector.
template <class V, class H>  // a template, so that the branch for another side is not compiled
INLINE void turn_square(const T* from, std::ptrdiff_t step, V* to) {
#ifdef CHAINRULE_SHUFFLES
  constexpr std::size_t part = side / 2;
#pragma GCC unroll 2
  for (std::size_t h = 0; h < side; h += part, to += part) {
    V r[part];
#pragma GCC unroll 4
    for (std::size_t i = 0; i < part; ++i) {
      const T* const x = from + static_cast<std::ptrdiff_t>(i) * step + h;
      const H upper = load<H>(x), lower = load<H>(x + static_cast<std::ptrdiff_t>(part) * step);
      if constexpr (side == 8) r[i] = __builtin_shufflevector(upper, lower, 0, 1, 2, 3, 4, 5, 6, 7);
      else r[i] = __builtin_shufflevector(upper, lower, 0, 1, 2, 3);
    }
    if constexpr (side == 8) {
      const V low = __builtin_shufflevector(r[0], r[1], 0, 8, 1, 9, 4, 12, 5, 13);
      const V high = __builtin_shufflevector(r[0], r[1], 2, 10, 3, 11, 6, 14, 7, 15);
      const V low_2 = __builtin_shufflevector(r[2], r[3], 0, 8, 1, 9, 4, 12, 5, 13);
      const V high_2 = __builtin_shufflevector(r[2], r[3], 2, 10, 3, 11, 6, 14, 7, 15);
      to[0] = __builtin_shufflevector(low, low_2, 0, 1, 8, 9, 4, 5, 12, 13);
      to[1] = __builtin_shufflevector(low, low_2, 2, 3, 10, 11, 6, 7, 14, 15);
      to[2] = __builtin_shufflevector(high, high_2, 0, 1, 8, 9, 4, 5, 12, 13);
      to[3] = __builtin_shufflevector(high, high_2, 2, 3, 10, 11, 6, 7, 14, 15);
    } else {
      to[0] = __builtin_shufflevector(r[0], r[1], 0, 4, 2, 6);
      to[1] = __builtin_shufflevector(r[0], r[1], 1, 5, 3, 7);
    }
  }
#else
  T turned[side * side];
  for (std::size_t i = 0; i < side; ++i)
    for (std::size_t j = 0; j < side; ++j)
      turned[j * side + i] = from[static_cast<std::ptrdiff_t>(i) * step + static_cast<std::ptrdiff_t>(j)];
  std::memcpy(to, turned, sizeof turned);
#endif
}

constexpr std::size_t rows = 6, columns = 2 * width;  // of a tile
static_assert(tall % rows == 0);

struct Strided {
  const T* data;
  std::ptrdiff_t row, column;
};

// A's tile as `pack` leaves it: its strides are known to the compiler.
struct Packed {
  const T* data;
  static constexpr std::ptrdiff_t row = 1, column = rows;
};

// M rows and one or two vectors of columns.
template <std::size_t M, class V, bool two, class A>
INLINE void tile(A a, const T* b, std::ptrdiff_t b_row, std::size_t k, const T* bias, bool adds, T* c,
                 std::ptrdiff_t c_row) {
  constexpr std::size_t next = two ? width : 0;
  V low[M], high[M];
#pragma GCC unroll 12
  for (std::size_t i = 0; i < M; ++i) {
    low[i] = bias ? load<V>(bias) : V{};
    if constexpr (two) high[i] = bias ? load<V>(bias + next) : V{};
    if (adds) FETCH(c + static_cast<std::ptrdiff_t>(i) * c_row);  // it is on its way while k is walked
  }
  for (std::size_t p = 0; p < k; ++p) {
    const V b_low = load<V>(b), b_high = two ? load<V>(b + next) : b_low;
#pragma GCC unroll 12
    for (std::size_t i = 0; i < M; ++i) {
      const T x = a.data[static_cast<std::ptrdiff_t>(i) * a.row];
      low[i] += x * b_low;
      if constexpr (two) high[i] += x * b_high;
    }
    a.data += a.column, b += b_row;
  }
#pragma GCC unroll 12
  for (std::size_t i = 0; i < M; ++i) {
    T* to = c + static_cast<std::ptrdiff_t>(i) * c_row;
    if (adds) low[i] += load<V>(to);
    store(to, low[i]);
    if constexpr (two) {
      if (adds) high[i] += load<V>(to + next);
      store(to + next, high[i]);
    }
  }
}

template <class V, bool two, class A>
INLINE void tile_of(std::size_t m, A a, const T* b, std::ptrdiff_t b_row, std::size_t k, const T* bias, bool adds,
                    T* c, std::ptrdiff_t c_row) {
  if constexpr (!two)
    if (m == 2 * rows) return tile<2 * rows, V, false>(a, b, b_row, k, bias, adds, c, c_row);
  switch (m) {
    case 6: return tile<6, V, two>(a, b, b_row, k, bias, adds, c, c_row);
    case 5: return tile<5, V, two>(a, b, b_row, k, bias, adds, c, c_row);
    case 4: return tile<4, V, two>(a, b, b_row, k, bias, adds, c, c_row);
    case 3: return tile<3, V, two>(a, b, b_row, k, bias, adds, c, c_row);
    case 2: return tile<2, V, two>(a, b, b_row, k, bias, adds, c, c_row);
    default: return tile<1, V, two>(a, b, b_row, k, bias, adds, c, c_row);
  }
}

constexpr std::size_t broad = 8 * width;

// One row alone: B is read once, and in long runs.
INLINE void row_of(Strided a, const T* b, std::ptrdiff_t b_row, std::size_t k, const T* bias, bool adds, T* c) {
  Vector sum[8];
#pragma GCC unroll 8
  for (std::size_t i = 0; i < 8; ++i) sum[i] = bias ? load(bias + i * width) : Vector{};
  for (std::size_t p = 0; p < k; ++p, a.data += a.column, b += b_row) {
    const T x = *a.data;
#pragma GCC unroll 8
    for (std::size_t i = 0; i < 8; ++i) sum[i] += x * load(b + i * width);
  }
#pragma GCC unroll 8
  for (std::size_t i = 0; i < 8; ++i) {
    if (adds) sum[i] += load(c + i * width);
    store(c + i * width, sum[i]);
  }
}

// One row alone, and B by columns, some of them: squares of B are turned in registers, and used there.
constexpr std::size_t together = 4 * side;
template <class V, class H>
APART void row_by_columns(Strided a, const T* b, std::ptrdiff_t b_column, std::size_t k, const T* bias, bool adds, T* c) {
  V sum[4];
#pragma GCC unroll 4
  for (std::size_t g = 0; g < 4; ++g) sum[g] = bias ? load<V>(bias + g * side) : V{};
  std::size_t p = 0;
  for (; p + side <= k; p += side, a.data += static_cast<std::ptrdiff_t>(side) * a.column)
#pragma GCC unroll 4
    for (std::size_t g = 0; g < 4; ++g) {
      const T* const from = b + static_cast<std::ptrdiff_t>(g * side) * b_column + p;
      V turned[side];
      turn_square<V, H>(from, b_column, turned);
#pragma GCC unroll 8
      for (std::size_t i = 0; i < side; ++i) sum[g] += a.data[static_cast<std::ptrdiff_t>(i) * a.column] * turned[i];
    }
  for (; p < k; ++p, a.data += a.column) {
    T next[together];
    for (std::size_t i = 0; i < together; ++i) next[i] = b[static_cast<std::ptrdiff_t>(i) * b_column + std::ptrdiff_t(p)];
    for (std::size_t g = 0; g < 4; ++g) sum[g] += *a.data * load<V>(next + g * side);
  }
#pragma GCC unroll 4
  for (std::size_t g = 0; g < 4; ++g) {
    if (adds) sum[g] += load<V>(c + g * side);
    store(c + g * side, sum[g]);
  }
}

// Fewer numbers than a tile is wide, by two moves that overlap, and not a call.
INLINE void copy_some(const T* from, std::size_t n, T* to) {
  const auto halves = [&](auto size) {
    constexpr std::size_t count = decltype(size)::value;
    T first[count], last[count];
    std::memcpy(first, from, sizeof first), std::memcpy(last, from + n - count, sizeof last);
    std::memcpy(to, first, sizeof first), std::memcpy(to + n - count, last, sizeof last);
  };
  using std::integral_constant;
  if (n >= 16) return halves(integral_constant<std::size_t, 16>{});
  if (n >= 8) return halves(integral_constant<std::size_t, 8>{});
  if (n >= 4) return halves(integral_constant<std::size_t, 4>{});
  if (n >= 2) return halves(integral_constant<std::size_t, 2>{});
  if (n == 1) *to = *from;
}

// Some rows of a transposed A, as tiles of six numbers for each step of k. A few steps of k at a time: the tiles of one
// step lie multiples of 2 KiB apart, and would push each other out of the first cache.
INLINE void pack(Strided a, std::size_t m, std::size_t k, T* to) {
  constexpr std::size_t steps = 16;
  for (std::size_t p = 0; p < k; p += steps) {
    const std::size_t last = std::min(p + steps, k);
    for (std::size_t i = 0; i < m; i += rows) {
      const T* from = a.data + static_cast<std::ptrdiff_t>(p) * a.column + i;
      T* at = to + i * k + p * rows;
      if (i + rows <= m) {
        for (std::size_t q = p; q < last; ++q, from += a.column, at += rows) std::memcpy(at, from, rows * sizeof(T));
      } else {
        for (std::size_t q = p; q < last; ++q, from += a.column, at += rows) std::memcpy(at, from, (m - i) * sizeof(T));
      }
    }
  }
}

// B's n columns from the j-th on, k steps deep, by rows of `pitch` numbers, beyond n zeros.
APART void fill_panel(const Product<T>& job, const T* b, std::size_t n, std::size_t k, T* panel, std::size_t pitch) {
  if (n < pitch) std::memset(panel, 0, k * pitch * sizeof(T));
  if (job.b_column == 1) {
    for (std::size_t p = 0; p < k; ++p) {
      const T* from = b + static_cast<std::ptrdiff_t>(p) * job.b_row;
      if (n == columns)  // of a size that the compiler knows: two moves, and not a call
        std::memcpy(panel + p * columns, from, columns * sizeof(T));
      else
        copy_some(from, n, panel + p * pitch);
    }
    return;
  }
  const std::size_t across = job.b_row == 1 ? n / side * side : 0, down = k / side * side;  // written by squares
  const auto fill = [&](std::size_t end, std::size_t step) {
    for (std::size_t p = 0; p < down; p += side)
      for (std::size_t q = 0; q < end; q += side) {
        Square turned[side];
        turn_square<Square, HalfRow>(b + static_cast<std::ptrdiff_t>(q) * job.b_column + p, job.b_column, turned);
#pragma GCC unroll 8
        for (std::size_t i = 0; i < side; ++i) store(panel + (p + i) * step + q, turned[i]);
      }
  };
  if (across == columns) fill(columns, columns);  // of a size that the compiler knows
  else fill(across, pitch);
  for (std::size_t q = 0; q < n; ++q) {
    const T* from = b + static_cast<std::ptrdiff_t>(q) * job.b_column;
    for (std::size_t p = q < across ? down : 0; p < k; ++p)
      panel[p * pitch + q] = from[static_cast<std::ptrdiff_t>(p) * job.b_row];
  }
}

void multiply(const Product<T>& job) {
  alignas(64) T panel[deep * columns], edge[rows * columns], padded_bias[columns];
  const std::size_t wanted = std::max<std::size_t>({1, (job.k + deep - 1) / deep, (job.k + 128) / 256});
  const std::size_t even = (job.k + wanted - 1) / wanted, depth = std::max<std::size_t>((even + 15) / 16, 1) * 16;  // whole lines
  const std::size_t parts = std::max<std::size_t>(1, (job.k + depth - 1) / depth);
  const bool packs = job.packed && packed_size(job) > 0;
  const std::size_t band = packs ? tall : std::max<std::size_t>(job.m, 1);
  for (std::size_t part = 0; part < parts; ++part)
    for (std::size_t first = 0; first < job.m; first += band) {
      const std::size_t done = std::min(part * depth, job.k), k = std::min(depth, job.k - done);
      const std::size_t last = std::min(first + band, job.m);
      const bool adds = job.adds || part > 0;
      const T* a = job.a + static_cast<std::ptrdiff_t>(done) * job.a_column;
      if (packs) pack({a + first, job.a_row, job.a_column}, last - first, k, job.packed);
      std::size_t j = 0;
      for (; job.m == 1 && job.b_column == 1 && j + broad <= job.n; j += broad)
        row_of({a, job.a_row, job.a_column}, job.b + static_cast<std::ptrdiff_t>(done) * job.b_row + j, job.b_row, k,
               job.bias && part == 0 ? job.bias + j : nullptr, adds, job.c + j);
#ifdef CHAINRULE_SHUFFLES  // else a panel is as quick
      for (; job.m == 1 && job.b_row == 1 && j + together <= job.n; j += together)
        row_by_columns<Square, HalfRow>({a, job.a_row, job.a_column},
                                        job.b + done + static_cast<std::ptrdiff_t>(j) * job.b_column, job.b_column, k,
                                        job.bias && part == 0 ? job.bias + j : nullptr, adds, job.c + j);
#endif
      for (std::size_t n; j < job.n; j += n) {
        n = std::min(columns, job.n - j);
        if (width < n && n <= width + half) n = width;  // then half a vector: less than two
        const std::size_t pitch = n <= half ? half : n <= width ? width : columns;
        const T* b =
            job.b + static_cast<std::ptrdiff_t>(done) * job.b_row + static_cast<std::ptrdiff_t>(j) * job.b_column;
        std::ptrdiff_t b_row = job.b_row;
        const bool spread = k * static_cast<std::size_t>(b_row) * sizeof(T) > 1 << 15;  // over more than the first cache
        if (n < pitch || job.b_column != 1 || (spread && last - first > 2 * rows)) {
          fill_panel(job, b, n, k, panel, pitch);
          b = panel, b_row = static_cast<std::ptrdiff_t>(pitch);
        }
        const T* bias = job.bias && part == 0 ? job.bias + j : nullptr;
        if (bias && n < pitch) {
          for (std::size_t q = 0; q < pitch; ++q) padded_bias[q] = q < n ? bias[q] : T(0);
          bias = padded_bias;
        }
        for (std::size_t i = first, m; i < last; i += m) {
          m = std::min(rows, last - i);
          if (!packs && last - i >= 2 * rows && pitch <= width) m = 2 * rows;
          T* c = job.c + static_cast<std::ptrdiff_t>(i) * job.c_row + j;
          T* const to = n == pitch ? c : edge;
          const std::ptrdiff_t to_row = n == pitch ? job.c_row : static_cast<std::ptrdiff_t>(pitch);
          if (n < pitch && adds)
            for (std::size_t r = 0; r < m; ++r)
              copy_some(c + static_cast<std::ptrdiff_t>(r) * job.c_row, n, edge + r * pitch);
          const auto run = [&](auto tile_a) {
            if constexpr (half > 0)
              if (pitch == half) return tile_of<Half, false>(m, tile_a, b, b_row, k, bias, adds, to, to_row);
            if (pitch == width) tile_of<Vector, false>(m, tile_a, b, b_row, k, bias, adds, to, to_row);
            else tile_of<Vector, true>(m, tile_a, b, b_row, k, bias, adds, to, to_row);
          };
          if (packs) run(Packed{job.packed + (i - first) * k});
          else run(Strided{a + static_cast<std::ptrdiff_t>(i) * job.a_row, job.a_row, job.a_column});
          if (n < pitch)
            for (std::size_t r = 0; r < m; ++r)
              copy_some(edge + r * pitch, n, c + static_cast<std::ptrdiff_t>(r) * job.c_row);
        }
      }
    }
}

}  // namespace

void fill(ProductKernels<T>& table) { table = {multiply}; }

}  // namespace SET
}  // namespace chainrule
