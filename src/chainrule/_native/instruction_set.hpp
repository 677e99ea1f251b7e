// Which instruction set's kernels run: the best that the processor has, or the one that CHAINRULE_INSTRUCTION_SET names.
#pragma once
#include <stdexcept>
#include <string>
#include <vector>

namespace chainrule {

// CHAINRULE_INSTRUCTION_SET names none, or one that is not to be had here.
struct InstructionSetError : std::invalid_argument {
  using std::invalid_argument::invalid_argument;
};

std::vector<std::string> instruction_sets();  // those that this build and this processor have, the best last
const char* instruction_set();                // the one that runs; chosen, or refused, at the first use of a kernel

}  // namespace chainrule
