// A row with options, as rows.hpp hands it to options.cpp: widened to float64, whatever its format.
#pragma once
#include "kernels.hpp"

namespace chainrule {
inline namespace SET {

struct OptionsRow {
  std::size_t k;
  // In: logits, targets before smoothing, and every class's weight. There is room for k + block numbers in each, and as
  // here so below, where vectors end beyond k stands what counts for nothing: -inf, 0 and 0.
  double *x, *given, *weights;
  double label_smoothing, temperature, multiplier, softcap, z_loss, scale;
  bool is_float64, has_options, wants_logsumexp, caps_exactly;
  // Out: exp((x_j - top)/T); their low parts, where they were computed in double-double, and at the end the gradient.
  double *e, *gradient;
  // With a cap x becomes the capped logits, `slope` their derivatives, and `low` the logits as they were, or, where the
  // row is in double-double, what the capped ones lack.
  double *slope, *low;
  std::size_t largest = 0;  // the first of the largest logits
  double top = 0.0, others = 0.0, others_low = 0.0, sum = 0.0, log_sum = 0.0, logsumexp = 0.0, loss = 0.0;
  bool exact = false, exactly_capped = false;  // in double-double
};

void softmax_of(OptionsRow& row);            // all that needs no targets
void loss_and_gradient_of(OptionsRow& row);  // after it
double cross_entropy_of(const OptionsRow& row);  // of the targets as given, neither smoothed nor weighted
double entropy_of(const OptionsRow& row);

}  // namespace SET
}  // namespace chainrule
