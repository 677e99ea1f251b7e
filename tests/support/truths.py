"""Each activation apart from the source: its formula in mpmath, for any number of digits, and PyTorch's module."""

import mpmath as mp

FORMULAS = {
    "identity": lambda a: a,
    "relu": lambda a: max(a, mp.mpf(0)),
    "leaky_relu": lambda a: a if a > 0 else a * mp.mpf(0.01),
    "tanh": mp.tanh,
    "logistic": lambda a: 1 / (1 + mp.exp(-a)),
    "gelu": lambda a: a * mp.erfc(-a / mp.sqrt(2)) / 2 if abs(a) < 60 else max(a, mp.mpf(0)),
    "silu": lambda a: a / (1 + mp.exp(-a)),
    "softplus": lambda a: mp.log1p(mp.exp(a)) if a < 2000 else a,
}
MODULES = {
    "identity": "Identity", "relu": "ReLU", "leaky_relu": "LeakyReLU", "tanh": "Tanh", "logistic": "Sigmoid",
    "gelu": "GELU", "silu": "SiLU", "softplus": "Softplus",
}  # fmt: skip
