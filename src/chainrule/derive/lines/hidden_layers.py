r"""The lecture, sections 2 and 3: the gradients w.r.t. the hidden units, the weights and the biases."""

# ruff: noqa: E501  # a line of LaTeX is a line

from chainrule.derive.setting import HIDDEN_LAYER
from chainrule.derive.written import Written

DERIVATIONS = (
    Written(
        name="gradient_wrt_hidden",
        title="The gradient w.r.t. the hidden units",
        intro="The gradient w.r.t. the pre-activations a_{k+1} of the layer above is known. Where that is the output layer, it is −(e(ℓ) − ŷ); what the loss makes of a_{k+1} does not matter here.",
        setting=HIDDEN_LAYER,
        lines=r"""
            \frac{\partial \mathcal{L}}{\partial h_{k,i}} = \sum_j \frac{\partial \mathcal{L}}{\partial a_{k+1,j}} \frac{\partial a_{k+1,j}}{\partial h_{k,i}}
                chain rule: A hidden unit reaches the loss through every unit of the layer above.
            = \sum_j \frac{\partial \mathcal{L}}{\partial a_{k+1,j}} \frac{\partial}{\partial h_{k,i}} \left[ \sum_{i'} W_{k+1,ji'} h_{k,i'} + b_{k+1,j} \right]
                definition
            = \sum_j \frac{\partial \mathcal{L}}{\partial a_{k+1,j}} W_{k+1,ji}
                linearity: Of the sum over i', only the term with i' = i has h_{k,i} in it.
            = \left( \mathbf{W}_{k+1}^\top \nabla_{\mathbf{a}_{k+1}} \mathcal{L} \right)_i
                matrix product: The sum runs over the rows of W_{k+1}: that is a product with its transpose.
            \nabla_{\mathbf{h}_k} \mathcal{L} = \mathbf{W}_{k+1}^\top \nabla_{\mathbf{a}_{k+1}} \mathcal{L}
                collecting into a vector: Forward the signal goes through W, backward through Wᵀ.
        """,
    ),
    Written(
        name="gradient_wrt_preactivations",
        title="The gradient w.r.t. the pre-activations of a hidden layer",
        intro="The hidden units are h_k = g(a_k), element by element, for any activation g.",
        setting=HIDDEN_LAYER,
        lines=r"""
            \frac{\partial \mathcal{L}}{\partial a_{k,i}} = \sum_j \frac{\partial \mathcal{L}}{\partial h_{k,j}} \frac{\partial h_{k,j}}{\partial a_{k,i}}
                chain rule
            = \sum_j \frac{\partial \mathcal{L}}{\partial h_{k,j}} \frac{\partial g(a_{k,j})}{\partial a_{k,i}}
                definition
            = \sum_j \frac{\partial \mathcal{L}}{\partial h_{k,j}} \mathbb{1}_{(i=j)} g'(a_{k,i})
                derivative of the activation: Unit j looks at its own pre-activation and at no other.
            = \frac{\partial \mathcal{L}}{\partial h_{k,i}} g'(a_{k,i})
                definition of the indicator
            \nabla_{\mathbf{a}_k} \mathcal{L} = \nabla_{\mathbf{h}_k} \mathcal{L} \odot g'(\mathbf{a}_k)
                collecting into a vector: ⊙ multiplies element by element.
        """,
    ),
    Written(
        name="gradient_wrt_weights",
        title="The gradient w.r.t. the weights",
        intro="W_{k,ij} is the weight from unit j of the layer below to unit i of layer k, and a_k = W_k h_{k−1} + b_k.",
        setting=HIDDEN_LAYER,
        lines=r"""
            \frac{\partial \mathcal{L}}{\partial W_{k,ij}} = \sum_{i'} \frac{\partial \mathcal{L}}{\partial a_{k,i'}} \frac{\partial a_{k,i'}}{\partial W_{k,ij}}
                chain rule
            = \sum_{i'} \frac{\partial \mathcal{L}}{\partial a_{k,i'}} \frac{\partial}{\partial W_{k,ij}} \left[ \sum_{j'} W_{k,i'j'} h_{k-1,j'} + b_{k,i'} \right]
                definition
            = \sum_{i'} \frac{\partial \mathcal{L}}{\partial a_{k,i'}} \mathbb{1}_{(i'=i)} h_{k-1,j}
                linearity: The weight is in the pre-activation of its own unit alone, and its factor there is its input.
            = \frac{\partial \mathcal{L}}{\partial a_{k,i}} h_{k-1,j}
                definition of the indicator
            \nabla_{\mathbf{W}_k} \mathcal{L} = \nabla_{\mathbf{a}_k} \mathcal{L} \cdot \mathbf{h}_{k-1}^\top
                collecting into a matrix: A column times a row: every element of the one times every element of the
                other.
        """,
    ),
    Written(
        name="gradient_wrt_biases",
        title="The gradient w.r.t. the biases",
        intro="A bias is a weight whose input is always 1.",
        setting=HIDDEN_LAYER,
        lines=r"""
            \frac{\partial \mathcal{L}}{\partial b_{k,i}} = \sum_{i'} \frac{\partial \mathcal{L}}{\partial a_{k,i'}} \frac{\partial a_{k,i'}}{\partial b_{k,i}}
                chain rule
            = \sum_{i'} \frac{\partial \mathcal{L}}{\partial a_{k,i'}} \frac{\partial}{\partial b_{k,i}} \left[ \sum_{j'} W_{k,i'j'} h_{k-1,j'} + b_{k,i'} \right]
                definition
            = \sum_{i'} \frac{\partial \mathcal{L}}{\partial a_{k,i'}} \mathbb{1}_{(i'=i)}
                linearity
            = \frac{\partial \mathcal{L}}{\partial a_{k,i}}
                definition of the indicator
            \nabla_{\mathbf{b}_k} \mathcal{L} = \nabla_{\mathbf{a}_k} \mathcal{L}
                collecting into a vector
        """,
    ),
)
