"""The loss with every option, written out in float64 and differentiated by PyTorch."""

import numpy as np
import pytest


def loss_and_grad(
    logits,
    labels,
    reduction="mean",
    class_weights=None,
    label_smoothing=0.0,
    ignore_index=None,
    temperature=1.0,
    z_loss=0.0,
):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    leaf = torch.tensor(np.array(logits, np.float64, order="C"), requires_grad=True)
    n, k = leaf.shape
    labels = torch.tensor(np.ascontiguousarray(labels))
    weights = torch.ones(k, dtype=torch.float64) if class_weights is None else torch.tensor(np.asarray(class_weights))
    minus_log = -torch.log_softmax(leaf / temperature, 1)
    lse = torch.logsumexp(leaf / temperature, 1)
    if labels.ndim == 2:
        counted = torch.ones(n, dtype=torch.float64)
        targets = weights * ((1 - label_smoothing) * labels.double() + label_smoothing / k)
        divisor = n
    else:
        counted = (labels != ignore_index).double() if ignore_index is not None else torch.ones(n, dtype=torch.float64)
        kept = torch.where(counted > 0, labels, 0)
        hard = torch.nn.functional.one_hot(kept, k).double()
        targets = weights * ((1 - label_smoothing) * hard + label_smoothing / k)
        divisor = float((weights[kept] * counted).sum())
    losses = counted * ((targets * minus_log).sum(1) + z_loss * lse**2)
    loss = {"none": losses, "sum": losses.sum(), "mean": losses.sum() / divisor if divisor else 0 * losses.sum()}
    loss[reduction].sum().backward()
    return loss[reduction].detach().numpy(), leaf.grad.numpy()
