// Asks the processor what it has, and chooses.
#include "instruction_set.hpp"

#include <cstdlib>
#include <initializer_list>
#include <tuple>

#include "errors.hpp"
#include "kernels.hpp"

#ifdef CHAINRULE_X86_64_SETS
#ifdef _MSC_VER
#include <intrin.h>
#else
#include <cpuid.h>
#endif
#endif

namespace chainrule {

// As rows.cpp, product.cpp and training_kernels.cpp define them.
#define CHAINRULE_FILLS(set)              \
  namespace set {                         \
  void fill(RowKernels<float>&);          \
  void fill(RowKernels<double>&);         \
  void fill(RowKernels<bfloat16>&);       \
  void fill(RowKernels<float16>&);        \
  void fill(ProductKernels<float>&);      \
  void fill(ProductKernels<double>&);     \
  void fill(TrainingKernels<float>&);     \
  void fill(TrainingKernels<double>&);    \
  }
CHAINRULE_FILLS(baseline)
#ifdef CHAINRULE_X86_64_SETS
CHAINRULE_FILLS(x86_64_v3)
CHAINRULE_FILLS(x86_64_v4)
#endif

namespace {

using Tables = std::tuple<RowKernels<float>, RowKernels<double>, RowKernels<bfloat16>, RowKernels<float16>,
                          ProductKernels<float>, ProductKernels<double>, TrainingKernels<float>, TrainingKernels<double>>;

// The levels of the x86-64 psABI above the baseline: what each adds, and that the system saves its registers.
int level_of_processor() {
#ifdef CHAINRULE_X86_64_SETS
  const auto ask = [](unsigned leaf, unsigned (&r)[4]) {
#ifdef _MSC_VER
    __cpuidex(reinterpret_cast<int*>(r), static_cast<int>(leaf), 0);
#else
    __cpuid_count(leaf, 0, r[0], r[1], r[2], r[3]);
#endif
  };
  const auto has = [](unsigned bits, std::initializer_list<int> wanted) {
    for (const int bit : wanted)
      if (!(bits >> bit & 1u)) return false;
    return true;
  };
  unsigned zero[4], one[4], seven[4], extended[4];
  ask(0, zero);
  ask(0x80000000u, extended);
  if (zero[0] < 7 || extended[0] < 0x80000001u) return 1;
  ask(1, one);
  ask(7, seven);
  ask(0x80000001u, extended);
  // SSE3, SSSE3, FMA, CMPXCHG16B, SSE4.1, SSE4.2, MOVBE, POPCNT, OSXSAVE, AVX, F16C; LAHF, LZCNT; BMI, AVX2, BMI2
  if (!has(one[2], {0, 9, 12, 13, 19, 20, 22, 23, 27, 28, 29}) || !has(extended[2], {0, 5}) || !has(seven[1], {3, 5, 8}))
    return 1;
#ifdef _MSC_VER
  const unsigned saved = static_cast<unsigned>(_xgetbv(0));
#else
  unsigned saved, high;
  __asm__("xgetbv" : "=a"(saved), "=d"(high) : "c"(0));
#endif
  if ((saved & 0x06u) != 0x06u) return 1;
  // AVX-512: F, DQ, CD, BW, VL
  return has(seven[1], {16, 17, 28, 30, 31}) && (saved & 0xe6u) == 0xe6u ? 4 : 3;
#else
  return 1;
#endif
}

struct Set {
  const char* name;
  int level;
  Tables (*tables)();
};

#define CHAINRULE_TABLES(set)                                            \
  [] {                                                                   \
    Tables tables;                                                       \
    std::apply([](auto&... table) { (set::fill(table), ...); }, tables); \
    return tables;                                                       \
  }
const Set sets[] = {
    {"baseline", 1, CHAINRULE_TABLES(baseline)},
#ifdef CHAINRULE_X86_64_SETS
    {"x86-64-v3", 3, CHAINRULE_TABLES(x86_64_v3)},
    {"x86-64-v4", 4, CHAINRULE_TABLES(x86_64_v4)},
#endif
};

struct Chosen {
  const char* name;
  Tables tables;
};

Chosen choose() {
  const char* told = std::getenv("CHAINRULE_INSTRUCTION_SET");
  const int level = level_of_processor();
  const Set* best = nullptr;
  for (const Set& set : sets)
    if (set.level <= level && (!told || !*told || std::string(told) == set.name)) best = &set;
  if (best) return {best->name, best->tables()};
  std::string names;
  for (const std::string& name : instruction_sets()) names += (names.empty() ? "" : ", ") + name;
  throw InputError("CHAINRULE_INSTRUCTION_SET: got '" + std::string(told) +
                            "', expected one that this processor and this build have: " + names);
}

const Chosen& chosen() {
  static const Chosen it = choose();  // asked again at the next use where it throws
  return it;
}

}  // namespace

template <class Table>
const Table& kernels() {
  return std::get<Table>(chosen().tables);
}
template const RowKernels<float>& kernels();
template const RowKernels<double>& kernels();
template const RowKernels<bfloat16>& kernels();
template const RowKernels<float16>& kernels();
template const ProductKernels<float>& kernels();
template const ProductKernels<double>& kernels();
template const TrainingKernels<float>& kernels();
template const TrainingKernels<double>& kernels();

std::vector<std::string> instruction_sets() {
  const int level = level_of_processor();
  std::vector<std::string> names;
  for (const Set& set : sets)
    if (set.level <= level) names.emplace_back(set.name);
  return names;
}

const char* instruction_set() { return chosen().name; }

}  // namespace chainrule
