"""Losses of PyTorch's kind, as the cases of `reports` call them: NumPy's float64 in and out."""

import numpy as np
import torch
from reports import Missing
from torch.utils._python_dispatch import TorchDispatchMode


class Copies(TorchDispatchMode):
    """How many tensors as large as the weights are made."""

    def __init__(self, size):
        super().__init__()
        self.size, self.count = size, 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        for tensor in result if isinstance(result, tuple) else (result,):
            fresh = isinstance(tensor, torch.Tensor) and tensor._base is None and tensor.numel() == self.size
            self.count += bool(fresh and tensor.data_ptr() not in {a.data_ptr() for a in args if torch.is_tensor(a)})
        return result


class Peer:
    """Of a loss of logits and one of a last layer, with PyTorch's signatures, or None."""

    def __init__(self, loss, last_layer):
        self.loss, self.last_layer = loss, last_layer

    @staticmethod
    def rounded(array, dtype):
        return torch.tensor(array).to(getattr(torch, dtype)).double().numpy()

    def logits(self, a, target, *, dtype="float32", beside=False, gives_input=False, **options):
        leaf = torch.tensor(np.asarray(a)).to(getattr(torch, dtype)).requires_grad_()
        logits = leaf * 1.0
        given = torch.tensor(target)
        given = given.to(leaf.dtype) if given.is_floating_point() else given
        loss = self._call(self.loss, (logits, given), leaf.dtype, options)
        (loss.sum() + (logits.exp().sum() if beside else 0)).backward()
        if gives_input:
            return logits.detach().numpy()
        return loss.detach().double().numpy(), [leaf.grad.double().numpy()]

    def linear(
        self, h, w, target, *, bias=None, dtype="float32", wants=True, upstream=None, ratio=None, compiles=False,
        **options,
    ):  # fmt: skip
        if self.last_layer is None:
            raise Missing("no loss of a last layer")
        form = getattr(torch, dtype)
        leaves = [torch.tensor(np.asarray(x)).to(form).requires_grad_(wants) for x in (h, w)]
        if bias is not None:
            options["linear_bias"] = torch.tensor(bias).to(form)
        function = torch.compile(self.last_layer) if compiles else self.last_layer
        loss = self._call(function, (*leaves, torch.tensor(target)), form, options)
        if wants:
            total = loss.sum() if upstream is None else (loss * torch.tensor(upstream).to(loss.dtype)).sum()
            if ratio is not None:
                old, gain = (torch.tensor(x).to(loss.dtype) for x in ratio)
                total = ((old - loss).exp() * gain).sum()
            total.backward()
        return loss.detach().double().numpy(), [None if x.grad is None else x.grad.double().numpy() for x in leaves]

    def copies_of_weights(self, n, d, k):
        if self.last_layer is None:
            raise Missing("no loss of a last layer")
        leaves = [torch.randn(n, d).requires_grad_(), torch.randn(k, d).requires_grad_()]
        extra = {} if self.last_layer is torch.nn.functional.linear_cross_entropy else {"chunk_bytes": 1 << 20}
        if not extra:
            extra = {"options": torch.nn.LinearCrossEntropyOptions()}
        with Copies(k * d) as copies:
            self.last_layer(*leaves, torch.zeros(n, dtype=torch.int64), **extra).backward()
        return copies.count

    @staticmethod
    def _call(function, tensors, form, options):
        options = dict(options)
        if "weight" in options:
            options["weight"] = torch.tensor(options["weight"]).to(form)
        if "loss_dtype" in options:
            options["loss_dtype"] = getattr(torch, options["loss_dtype"])
        try:
            return function(*tensors, **options)
        except TypeError as error:
            if "unexpected keyword" in str(error):
                raise Missing(str(error)) from None
            raise
