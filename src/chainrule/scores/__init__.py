"""What gradients say of each example: how much it has to teach, how sure the network is, whether its label is wrong.

The scores take arrays, or a model and what it takes: `el2n(logits, labels)` or `el2n(model, x, labels)`, by position or
by name. A model is a `Network`, a fitted `MLPClassifier` (Chainrule's or scikit-learn's), or PyTorch's Sequential or
last Linear, whose x are then the hidden units before it. A classifier's labels are of its `classes_`; of two classes,
it counts as a network of two logits, as `Network.from_sklearn` makes it.
"""

from chainrule.scores.judging import confusion_matrix, example_scores, hardest
from chainrule.scores.label_errors import LabelErrors, label_errors
from chainrule.scores.last_layer import el2n, entropy, expected_gradient_length, gradnorm, grand, margin, tracin
from chainrule.scores.layers import gradient_norms
from chainrule.scores.selection import badge, badge_distances

__all__ = [
    "LabelErrors", "badge", "badge_distances", "confusion_matrix", "el2n", "entropy", "example_scores",
    "expected_gradient_length", "gradient_norms", "gradnorm", "grand", "hardest", "label_errors", "margin", "tracin",
]  # fmt: skip
