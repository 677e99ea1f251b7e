// What Python gets as chainrule.errors.InputError.
#pragma once
#include <stdexcept>

namespace chainrule {

struct InputError : std::invalid_argument {
  using std::invalid_argument::invalid_argument;
};

}  // namespace chainrule
