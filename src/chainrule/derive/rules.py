"""The rules by which a line of a derivation follows from the one before it: a named set, with a sentence for each."""

from __future__ import annotations

__all__ = ["RULES"]

RULES: dict[str, str] = {
    "definition": "A name is replaced by what it stands for, or the other way round.",
    "definition of the loss": "The loss is the cross entropy: 𝓛 = −log ŷ_ℓ.",
    "definition of softmax": "softmax(a)_i = exp(a_i) / Σ_{i'} exp(a_{i'}).",
    "definition of the indicator": (
        "𝟙[i=j] is 1 where i and j are the same and 0 elsewhere; of a sum it picks one term."
    ),
    "definition of one-hot": "e(ℓ) is the vector whose element ℓ is 1 and whose others are 0: its element i is 𝟙[ℓ=i].",
    "chain rule": "∂f(u)/∂x = Σ ∂f/∂u ∂u/∂x, over every u through which x reaches f.",
    "quotient rule": "∂(g/h)/∂x = (∂g/∂x)/h − (g/h²) ∂h/∂x.",
    "product rule": "∂(g h)/∂x = (∂g/∂x) h + g ∂h/∂x.",
    "power rule": "∂xⁿ/∂x = n xⁿ⁻¹.",
    "linearity": (
        "The derivative of a sum is the sum of the derivatives; a factor without x stands outside; that of a term "
        "without x is 0."
    ),
    "derivative of exp": "∂exp(x)/∂x = exp(x), and 0 w.r.t. any other variable.",
    "derivative of log": "∂log(x)/∂x = 1/x, and 0 w.r.t. any other variable.",
    "derivative of the activation": (
        "h_k = g(a_k) element by element, so ∂h_{k,i}/∂a_{k,j} is g′(a_{k,i}) where i = j, else 0."
    ),
    "derivative on each side": (
        "Where a function has a kink, it is differentiated on either side of it; at it, it has no derivative."
    ),
    "convention": "What the mathematics leaves open is chosen, and the code chooses the same.",
    "logarithms": "log(x/y) = log x − log y, and log exp(x) = x.",
    "probabilities sum to 1": "Σ_j ŷ_j = 1, and so do target probabilities.",
    "substitution": "A result that was derived elsewhere is put in.",
    "algebra": "Terms are collected, cancelled or multiplied out.",
    "matrix product": (
        "(A B)_{ij} = Σ_p A_{ip} B_{pj}: a sum over an index that two factors share is a product of matrices."
    ),
    "collecting into a vector": "The elements, each derived above, are written below each other.",
    "collecting into a matrix": "The elements, each derived above, are written in rows and columns.",
}
