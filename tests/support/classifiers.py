"""Ten small PyTorch classifiers with random weights, in float64: every kind of block that models are made of."""

import torch
from torch import nn


class Residual(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1), nn.BatchNorm2d(channels), nn.ReLU(),
            nn.Conv2d(channels, channels, 3, padding=1), nn.BatchNorm2d(channels),
        )  # fmt: skip

    def forward(self, x):
        return torch.relu(x + self.body(x))


class Text(nn.Module):
    """Embedding, and what becomes of the words: a mean, a convolution, or attention."""

    def __init__(self, middle, width=8):
        super().__init__()
        self.words = nn.Embedding(11, width)
        self.middle = middle
        self.head = nn.Linear(width, 3)

    def forward(self, tokens):
        return self.head(self.middle(self.words(tokens)).mean(dim=1))


class Attention(nn.Module):
    def __init__(self, width=8):
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.attention = nn.MultiheadAttention(width, 2, batch_first=True)
        self.feed = nn.Sequential(nn.Linear(width, 12), nn.GELU(), nn.Dropout(0.2), nn.Linear(12, width))

    def forward(self, h):
        n = self.norm(h)
        h = h + self.attention(n, n, n)[0]
        return h + self.feed(h)


class Convolved(nn.Module):
    def __init__(self, width=8):
        super().__init__()
        self.convolution, self.pool = nn.Conv1d(width, width, 3, padding=1), nn.MaxPool1d(2)

    def forward(self, h):
        return self.pool(torch.tanh(self.convolution(h.transpose(1, 2)))).transpose(1, 2)


class Branches(nn.Module):
    """Two ways side by side, joined by their channels, as in Inception."""

    def __init__(self):
        super().__init__()
        self.narrow, self.wide = nn.Conv2d(2, 3, 1), nn.Conv2d(2, 3, 3, padding=1)
        self.pool, self.head = nn.AdaptiveAvgPool2d(2), nn.Linear(24, 4)

    def forward(self, x):
        return self.head(self.pool(torch.cat([self.narrow(x), self.wide(x)], dim=1)).flatten(1))


def classifiers():
    """name → (module, an example, its label)."""
    torch.manual_seed(0)
    image = torch.randn(1, 2, 8, 8, dtype=torch.float64)
    tokens = torch.tensor([[1, 5, 2, 10, 5, 7]])
    made = {
        "mlp": (nn.Sequential(nn.Flatten(), nn.Linear(128, 16), nn.ReLU(), nn.Dropout(0.5), nn.Linear(16, 5)), image),
        "maxpool": (nn.Sequential(
            nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(36, 5)), image),
        "avgpool": (nn.Sequential(
            nn.Conv2d(2, 4, 3, stride=2), nn.Tanh(), nn.AvgPool2d(3), nn.Flatten(), nn.Dropout(0.3),
            nn.Linear(4, 3)), image),
        "depthwise": (nn.Sequential(
            nn.Conv2d(2, 6, 3, groups=2), nn.BatchNorm2d(6), nn.SiLU(), nn.Conv2d(6, 4, 1), nn.AdaptiveAvgPool2d(1),
            nn.Flatten(), nn.Linear(4, 3)), image),
        "residual": (nn.Sequential(
            nn.Conv2d(2, 4, 1), Residual(4), Residual(4), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
            nn.Linear(4, 3)), image),
        "branches": (Branches(), image),
        "words": (Text(nn.Dropout(0.1)), tokens),
        "convolved words": (Text(Convolved()), tokens),
        "attention": (Text(nn.Sequential(Attention(), Attention())), tokens),
        "transformer": (Text(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)), tokens),
    }  # fmt: skip
    found = {}
    for i, (name, (module, x)) in enumerate(made.items()):
        module = module.double()
        for _ in range(3):  # statistics for the batch norms
            module(torch.randn(6, 2, 8, 8, dtype=torch.float64) if x is image else torch.randint(0, 11, (6, 6)))
        found[name] = module, x, i % 3
    return found
