// The floating-point mode in which the kernels are right: rounding to nearest, and subnormal numbers kept.
#pragma once
#include <cfenv>

namespace chainrule {

// As long as it lives this thread is in the mode a process begins in, and afterwards again in its own: callers may flush
// subnormals (PyTorch's set_flush_denormal, XLA's threads), and a gradient below 1e-38 would be 0. Threads that are
// started meanwhile inherit it.
class DefaultMode {
 public:
  DefaultMode() {
    std::fegetenv(&callers_);
    std::fesetenv(FE_DFL_ENV);
  }
  ~DefaultMode() { std::fesetenv(&callers_); }
  DefaultMode(const DefaultMode&) = delete;

 private:
  std::fenv_t callers_;
};

}  // namespace chainrule
