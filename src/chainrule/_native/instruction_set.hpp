// Which instruction set's kernels run: the best that the processor has, or the one that CHAINRULE_INSTRUCTION_SET names.
#pragma once
#include <string>
#include <vector>

namespace chainrule {

std::vector<std::string> instruction_sets();  // those that this build and this processor have, the best last
const char* instruction_set();                // the one that runs; chosen, or refused (InputError), at the first use

}  // namespace chainrule
