r"""The lecture, "The chain, for one weight": a product of factors in a thin network, a sum over paths in a wide one."""

# ruff: noqa: E501  # a line of LaTeX is a line

from chainrule.derive.setting import Free, Setting
from chainrule.derive.written import Written, means

_OUTPUT = {"ŷ": means(r"\text{softmax}(\mathbf{a}_3)", ("K",)), "𝓛": means(r"-\log \hat{y}_\ell")}
_THIN = Setting(
    free={
        "x": Free(),
        "W_1": Free((1, 1)),
        "b_1": Free(),
        "W_2": Free((1, 1)),
        "b_2": Free(),
        "W_3": Free(("K", 1)),
        "b_3": Free(("K",)),
    },
    defined={
        "a_1": means(r"W_{111} x + b_1"),
        "h_1": means(r"g(a_1)"),
        "a_2": means(r"W_{211} h_1 + b_2"),
        "h_2": means(r"g(a_2)"),
        "a_3": means(r"\mathbf{W}_3 h_2 + \mathbf{b}_3", ("K",)),
        **_OUTPUT,
    },
    symbolic_classes=(2, 3),
    numeric_classes=(2, 5),
)
_ANY_DEPTH = Setting(
    free={
        "h_{k−1}": Free(),
        "W_k": Free((1, 1)),
        "b_k": Free(),
        "W_{k+1}": Free((1, 1)),
        "b_{k+1}": Free(),
        "u": Free(("K",)),
        "c": Free(("K",), "positive"),
    },
    defined={
        "a_k": means(r"W_{k11} h_{k-1} + b_k"),
        "h_k": means(r"g(a_k)"),
        "a_{k+1}": means(r"W_{k+1,11} h_k + b_{k+1}"),
        "𝓛": means(r"\log \sum_j c_j \exp(u_j a_{k+1})"),
    },
)
_WIDE = Setting(
    free={
        "x": Free(("D",)),
        "W_1": Free(("U", "D")),
        "b_1": Free(("U",)),
        "W_2": Free(("V", "U")),
        "b_2": Free(("V",)),
        "W_3": Free(("K", "V")),
        "b_3": Free(("K",)),
    },
    defined={
        "a_1": means(r"\mathbf{W}_1 \mathbf{x} + \mathbf{b}_1", ("U",)),
        "h_1": means(r"g(\mathbf{a}_1)", ("U",)),
        "a_2": means(r"\mathbf{W}_2 \mathbf{h}_1 + \mathbf{b}_2", ("V",)),
        "h_2": means(r"g(\mathbf{a}_2)", ("V",)),
        "a_3": means(r"\mathbf{W}_3 \mathbf{h}_2 + \mathbf{b}_3", ("K",)),
        **_OUTPUT,
    },
    lengths={"D": 2, "U": 2, "V": 3},
    symbolic_classes=(2,),
    numeric_classes=(2, 4),
)

DERIVATIONS = (
    Written(
        name="one_weight",
        title="One weight of a thin network",
        intro="Two hidden layers of one unit each, h_1 = g(a_1) and h_2 = g(a_2) with a_1 = W_111 x + b_1 and a_2 = W_211 h_1 + b_2, then the output layer a_3 = W_3 h_2 + b_3, ŷ = softmax(a_3). To talk to a weight, first talk to the output layer, then to each hidden layer before it, and then to the weight. A deeper network has a group more for each hidden layer: see one_weight_any_depth.",
        setting=_THIN,
        lines=r"""
            \frac{\partial \mathcal{L}}{\partial W_{111}} = \left( \frac{\partial \mathcal{L}}{\partial \hat{\mathbf{y}}} \cdot \frac{\partial \hat{\mathbf{y}}}{\partial \mathbf{a}_3} \right) \cdot \left( \frac{\partial \mathbf{a}_3}{\partial h_2} \cdot \frac{\partial h_2}{\partial a_2} \right) \cdot \left( \frac{\partial a_2}{\partial h_1} \cdot \frac{\partial h_1}{\partial a_1} \right) \cdot \left( \frac{\partial a_1}{\partial W_{111}} \right)
                chain rule: The output layer, hidden layer 2, hidden layer 1, the weight itself.
            = -(\mathbf{e}(\ell) - \hat{\mathbf{y}})^\top \cdot \left( \frac{\partial \mathbf{a}_3}{\partial h_2} \cdot \frac{\partial h_2}{\partial a_2} \right) \cdot \left( \frac{\partial a_2}{\partial h_1} \cdot \frac{\partial h_1}{\partial a_1} \right) \cdot \left( \frac{\partial a_1}{\partial W_{111}} \right)
                substitution: The output layer's group is the gradient w.r.t. its logits, here as a row: see
                gradient_wrt_logits.
            = -(\mathbf{e}(\ell) - \hat{\mathbf{y}})^\top \cdot (\mathbf{W}_3 \cdot g'(a_2)) \cdot (W_{211} \cdot g'(a_1)) \cdot \frac{\partial a_1}{\partial W_{111}}
                derivative of the activation: Each hidden layer's group is a weight times the slope of its activation.
            = -(\mathbf{e}(\ell) - \hat{\mathbf{y}})^\top \cdot (\mathbf{W}_3 \cdot g'(a_2)) \cdot (W_{211} \cdot g'(a_1)) \cdot x
                linearity: The last factor is the weight's input. Where one factor is small, so is the product: that is
                how a gradient vanishes.
        """,
    ),
    Written(
        name="one_weight_any_depth",
        title="One weight of a thin network of any depth",
        intro="A hidden layer k of one unit, with one unit in the layer above it; whatever the loss makes of a_{k+1} does not matter, and log Σ_j c_j exp(u_j a_{k+1}) stands for it here. The first lines lead one layer down. Used from the output layer down, once for each hidden layer, they give the product of factors for a network of any depth, and the last lines end it at a weight.",
        setting=_ANY_DEPTH,
        lines=r"""
            \frac{\partial \mathcal{L}}{\partial a_k} = \frac{\partial \mathcal{L}}{\partial a_{k+1}} \cdot \left( \frac{\partial a_{k+1}}{\partial h_k} \cdot \frac{\partial h_k}{\partial a_k} \right)
                chain rule: One layer further down, one group of factors more.
            = \frac{\partial \mathcal{L}}{\partial a_{k+1}} \cdot (W_{k+1,11} \cdot g'(a_k))
                derivative of the activation: The group is a weight times the slope of an activation.
            \frac{\partial \mathcal{L}}{\partial W_{k11}} = \frac{\partial \mathcal{L}}{\partial a_k} \cdot \frac{\partial a_k}{\partial W_{k11}}
                chain rule
            = \frac{\partial \mathcal{L}}{\partial a_k} \cdot h_{k-1}
                linearity: The last factor is the weight's input; for W_111 that is h_0 = x.
            = \frac{\partial \mathcal{L}}{\partial a_{k+1}} \cdot (W_{k+1,11} \cdot g'(a_k)) \cdot h_{k-1}
                substitution: The first factor is written out in the same way, up to the output layer.
        """,
    ),
    Written(
        name="one_weight_wide",
        title="One weight of a wide network: the sum over paths",
        intro="The same with several units in each layer. Every factor between two layers is now a matrix, and the gradient of one weight is a sum of products, one for every path from the weight to the loss.",
        setting=_WIDE,
        lines=r"""
            \frac{\partial \mathcal{L}}{\partial W_{1,ij}} = \frac{\partial \mathcal{L}}{\partial \hat{\mathbf{y}}} \cdot \frac{\partial \hat{\mathbf{y}}}{\partial \mathbf{a}_3} \cdot \frac{\partial \mathbf{a}_3}{\partial \mathbf{h}_2} \cdot \frac{\partial \mathbf{h}_2}{\partial \mathbf{a}_2} \cdot \frac{\partial \mathbf{a}_2}{\partial \mathbf{h}_1} \cdot \frac{\partial \mathbf{h}_1}{\partial \mathbf{a}_1} \cdot \frac{\partial \mathbf{a}_1}{\partial W_{1,ij}}
                chain rule: A row, five matrices and a column: their product is a number.
            = \sum_p \sum_q \frac{\partial \mathcal{L}}{\partial a_{3,p}} \frac{\partial a_{3,p}}{\partial h_{2,q}} \frac{\partial h_{2,q}}{\partial a_{2,q}} \frac{\partial a_{2,q}}{\partial h_{1,i}} \frac{\partial h_{1,i}}{\partial a_{1,i}} \frac{\partial a_{1,i}}{\partial W_{1,ij}}
                matrix product: A path leads from the weight to its unit i, on to a unit q of the second layer and to a
                class p. Other paths have a factor 0.
            = \sum_p \sum_q -(\mathbb{1}_{(\ell=p)} - \hat{y}_p) \, W_{3,pq} \, g'(a_{2,q}) \, W_{2,qi} \, g'(a_{1,i}) \, x_j
                substitution: Along each path: the gradient at a logit, then a weight and a slope for each hidden layer,
                then the input.
            = \left( \sum_q \left( \sum_p -(\mathbb{1}_{(\ell=p)} - \hat{y}_p) \, W_{3,pq} \right) g'(a_{2,q}) \, W_{2,qi} \right) g'(a_{1,i}) \, x_j
                algebra: Summed from the inside out no path is walked by itself: that is backpropagation, and why it
                costs no more than going forward.
        """,
    ),
)
