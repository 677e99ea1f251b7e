"""The table of symbols holds every row of the lecture's table of names."""

from chainrule import notation

LECTURE = {
    "ℓ": "labels",
    "ŷ": "probabilities",
    "a_L": "logits",
    "a_k": "preactivations[k-1]",
    "h_k": "activations[k]",
    "W_k": "weights[k-1]",
    "b_k": "biases[k-1]",
    "∇_z 𝓛": "grad_z",
    "e(ℓ)": "one_hot(labels)",
}


def test_the_lectures_names():
    table = {row.symbol: row.code for row in notation.SYMBOLS}
    assert {symbol: table[symbol] for symbol in LECTURE} == LECTURE
    assert len({row.symbol for row in notation.SYMBOLS}) == len(notation.SYMBOLS)
