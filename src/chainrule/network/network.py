"""A feed-forward network with a softmax output layer: its forward pass, and the gradient walked back through it.

Written against the Array API, so the same lines run on NumPy, PyTorch and JAX arrays; the output layer of
NumPy float32 and float64 networks takes the native kernels.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from chainrule import equations
from chainrule.activations import ACTIVATIONS
from chainrule.boundary.arrays import as_numpy
from chainrule.boundary.checks import check_choice, check_integer, check_labels, check_threads
from chainrule.errors import InputError
from chainrule.network import conversion, model_file
from chainrule.network.inference import infer
from chainrule.network.layers import Layers
from chainrule.network.passes import Backward, Forward
from chainrule.output import layer as output

__all__ = ["Backward", "Forward", "Network", "as_network"]


class Network(Layers):
    """A feed-forward network: a_k = W_k h_{k−1} + b_k, h_k = g(a_k), ŷ = softmax(a_L).

    Parameters
    ----------
    weights : sequence of arrays (U, D), float; row = unit, column = its input
    biases : sequence of arrays (U,), of the same dtype
    activation : one of `chainrule.equations.ACTIVATIONS`, used in every hidden layer

    Raises
    ------
    InputError
        Shapes that do not chain, dtypes that differ, an unknown activation.

    Examples
    --------
    >>> net = Network.create([4, 8, 3], activation="tanh", seed=0)
    >>> forward = net.forward(np.ones((2, 4)))
    >>> backward = net.backward(forward, [0, 2])
    >>> [g.shape for g in backward.grad_weights]
    [(8, 4), (3, 8)]

    Source: the lecture, Setting.
    """

    @classmethod
    def create(
        cls, widths: Sequence[int], *, activation: str = "relu", seed: int = 0, dtype: str = "float32"
    ) -> Network:
        """A new network with random weights and zero biases, the same for the same seed.

        Weights are normal with variance 2/D (He) for the activations that are zero or nearly so on one side,
        and 1/D (LeCun) for the others; the output layer's are LeCun's.

        Parameters
        ----------
        widths : the number of inputs, of units in each hidden layer, and of classes
        activation, seed, dtype : "float32" or "float64"

        Raises
        ------
        InputError
            Fewer than two widths, a width below 1, an unknown activation or dtype.

        Examples
        --------
        >>> Network.create([64, 32, 10]).widths
        [64, 32, 10]

        Source: K. He et al., "Delving Deep into Rectifiers", 2015; Y. LeCun et al., "Efficient BackProp", 1998.
        """
        check_choice("activation", activation, tuple(ACTIVATIONS))
        check_choice("dtype", str(np.dtype(dtype)), ("float32", "float64"))
        check_integer("seed", seed, minimum=0)
        sizes = [check_integer("widths", width) for width in widths]
        if len(sizes) < 2:
            raise InputError(f"widths: got {sizes}, expected at least the numbers of inputs and of classes")
        random = np.random.default_rng(seed)
        weights, biases = [], []
        for k, (inputs, units) in enumerate(pairwise(sizes)):
            variance = (ACTIVATIONS[activation].gain if k < len(sizes) - 2 else 1.0) / inputs
            drawn = random.standard_normal((units, inputs)) * variance**0.5
            weights.append(np.asfortranarray(drawn, dtype=dtype))  # as the kernels read them
            biases.append(np.zeros(units, dtype=dtype))
        return cls(weights, biases, activation)

    def astype(self, dtype: str) -> Network:
        """A copy of a NumPy network in another precision."""
        return Network([w.astype(dtype) for w in self.weights], [b.astype(dtype) for b in self.biases], self.activation)

    def forward(self, x: Any) -> Forward:
        """The forward pass, with everything kept that the backward pass needs.

        Parameters
        ----------
        x : array (N, D) of numbers, of the library that the weights are of

        Raises
        ------
        InputError
            A wrong rank, width or dtype.

        Source: the lecture, Setting.
        """
        self.check()
        g = ACTIVATIONS[self.activation].function
        activations, preactivations = [self.forward_input(x)], []
        for k, (weights, biases) in enumerate(zip(self.weights, self.biases, strict=True), start=1):
            preactivations.append(equations.preactivation(activations[-1], weights, biases))
            if k < self.depth:
                activations.append(g(preactivations[-1]))
        return Forward(preactivations, activations, self._softmax(preactivations[-1]))

    def backward(self, forward: Forward, labels: Any, *, per_example: bool = False, to_input: bool = True) -> Backward:
        """The gradients of the loss, from the output units back to the weights.

        Parameters
        ----------
        forward : what `forward` returned
        labels : array (N,), int in [0, K)
        per_example : each example's own gradient instead of that of the mean loss
        to_input : whether to go on to ∇_x 𝓛; weights and biases need it not, and grad_activations[0] is None without

        Raises
        ------
        InputError
            Labels of a wrong shape, dtype or value.

        Source: the lecture, sections 1 to 3.
        """
        derivative = ACTIVATIONS[self.activation].derivative
        loss, grad_probabilities, grad = self._output_layer(forward, labels, per_example)
        grad_preactivations: list[Any] = [grad]
        grad_activations: list[Any] = []
        for k in range(self.depth - 1, -1, -1):
            on = k > 0 or to_input
            back = equations.grad_hidden(self.weights[k], grad_preactivations[0]) if on else None
            grad_activations.insert(0, back)
            if k > 0:
                slope = derivative(forward.preactivations[k - 1])
                grad_preactivations.insert(0, equations.grad_preactivations(grad_activations[0], slope))
        return Backward(
            loss, grad_probabilities, grad_preactivations, grad_activations, forward.activations, per_example
        )

    def logits(self, x: Any, *, threads: int | None = None) -> Any:
        """The logits a_L of each class, (N, K), for x of shape (N, D), without what `forward` keeps.

        For NumPy networks a row's logits are the same bits alone, beside other rows, and on any number of threads; the
        sums' order is the kernels' own, and the last bits may not be those of `forward`.

        Parameters
        ----------
        x : array (N, D) of numbers, of the library that the weights are of
        threads : at most this many, for NumPy networks

        Raises
        ------
        InputError
            A wrong rank, width or dtype.

        Examples
        --------
        >>> Network([np.eye(2)], [np.zeros(2)]).logits([[1.0, 2.0]]).tolist()
        [[1.0, 2.0]]

        Source: the lecture, Setting.
        """
        return self._infer(x, threads, softmax=False)

    def predict_proba(self, x: Any, *, threads: int | None = None) -> Any:
        """The probabilities ŷ of each class, (N, K), for x of shape (N, D): the softmax of `logits`."""
        return self._infer(x, threads, softmax=True)

    def predict(self, x: Any, *, threads: int | None = None) -> Any:
        """The most probable class of each example, (N,) integers, for x of shape (N, D)."""
        logits = self.logits(x, threads=threads)
        return equations.array_namespace(logits).argmax(logits, axis=-1)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the network as one `.safetensors` file, whole or not at all.

        Raises
        ------
        OutputFileError
            The file cannot be written; what stood there is untouched.
        """
        model_file.save_model(path, self)

    @staticmethod
    def load(path: str | os.PathLike[str]) -> Network:
        """Read a network that `save` (or `chainrule train`) wrote; never runs code from the file.

        Raises
        ------
        ModelFileError
            The file is missing, damaged, foreign, or of another version.
        """
        return as_network(model_file.read_model(path)[0])

    @staticmethod
    def from_torch(module: Any) -> Network:
        """A network with the weights of a PyTorch `Sequential` of Linear layers and one kind of activation.

        Nested Sequentials, a leading Flatten and a Linear without bias are taken; Dropout is left out, as in
        evaluation; a last Softmax or LogSoftmax too: softmax is this network's own last step.

        Parameters
        ----------
        module : torch.nn.Sequential, or one torch.nn.Linear

        Returns
        -------
        Network
            Of NumPy arrays, copies of the module's weights; half precisions become float32.

        Raises
        ------
        InputError
            Another module or layer, activations that differ or are not among `chainrule.equations.ACTIVATIONS`.
        MissingExtraError
            PyTorch is not installed.

        Examples
        --------
        >>> Network.from_torch(Network.create([4, 8, 3], activation="tanh").to_torch()).widths
        [4, 8, 3]
        """
        return as_network(conversion.from_torch(module))

    def to_torch(self) -> Any:
        """The network as a PyTorch `Sequential` that gives the logits; its weights are copies.

        PyTorch's softplus is its argument itself above 20, which is off by less than 3e-9.

        Raises
        ------
        MissingExtraError
            PyTorch is not installed.

        Examples
        --------
        >>> Network.create([4, 8, 3]).to_torch()[2].weight.shape
        torch.Size([3, 8])
        """
        return conversion.to_torch(self)

    def to_onnx(self, path: str | os.PathLike[str]) -> Path:
        """Write the network as an ONNX model: input `x` (N, D), outputs `logits` and `probabilities` (N, K).

        It computes in the weights' dtype, by the runtime's own kernels. In float64, onnxruntime 1.32 has none for
        gelu and softplus. A file that is there is replaced whole.

        Raises
        ------
        MissingExtraError
            onnx is not installed: `chainrule[onnx]`.

        Examples
        --------
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     Network.create([4, 8, 3]).to_onnx(f"{folder}/net.onnx").name
        'net.onnx'

        Source: the ONNX operators Gemm, Softmax and the activations, opset 17.
        """
        return conversion.to_onnx(self, path)

    @staticmethod
    def from_sklearn(classifier: Any) -> Network:
        """A network with the weights of a fitted `MLPClassifier`, scikit-learn's or `chainrule.sklearn`'s.

        The single logistic output a of a classifier of two classes becomes two logits, 0 and a: σ(a) = softmax(0, a)₂.

        Parameters
        ----------
        classifier : a fitted MLPClassifier

        Returns
        -------
        Network
            Its class i is `classifier.classes_[i]`.

        Raises
        ------
        InputError
            Another estimator, one that is not fitted, or one for several labels at once.
        """
        return as_network(conversion.from_sklearn(classifier))

    def forward_input(self, x: Any) -> Any:
        """x as `forward` takes it: checked, and in the dtype of the weights."""
        weights = self.weights[0]
        if isinstance(weights, np.ndarray):
            x = as_numpy("x", x, f"(N, {weights.shape[1]}) numbers")
            if x.dtype.kind not in "biuf":
                raise InputError(f"x: got dtype {x.dtype}, expected numbers")
            x = x.astype(weights.dtype, copy=False)
        if len(x.shape) != 2 or x.shape[1] != weights.shape[1]:
            raise InputError(f"x: got shape {tuple(x.shape)}, expected (N, {weights.shape[1]})")
        return x

    def _infer(self, x: Any, threads: int | None, *, softmax: bool) -> Any:
        if self._uses_kernels():
            x, team = self.forward_input(x), check_threads(threads)
            try:
                return infer(self.weights, self.biases, self.activation, x, softmax=softmax, threads=team)
            except (RuntimeError, TypeError, ValueError):  # what the kernel cannot read, check has words for
                self.check()
                raise
        forward = self.forward(x)
        return forward.probabilities if softmax else forward.logits

    def _uses_kernels(self) -> bool:
        """Are the arrays NumPy's and of a dtype of kernels?"""
        if not all(isinstance(a, np.ndarray) for a in (*self.weights, *self.biases)):
            return False
        dtype = self.weights[0].dtype
        return dtype.char in "fd" and bool(dtype.isnative)

    def _softmax(self, logits: Any) -> Any:
        return output.softmax(logits) if self._uses_kernels() else equations.softmax(logits)

    def _output_layer(self, forward: Forward, labels: Any, per_example: bool) -> tuple[Any, Any, Any]:
        """Loss, ∇_ŷ 𝓛 and ∇_{a_L} 𝓛."""
        logits, probabilities = forward.logits, forward.probabilities
        n, k = logits.shape
        checked = check_labels(labels, n, k)
        if self._uses_kernels():
            reduction = "none" if per_example else "mean"
            loss, grad = output.softmax_cross_entropy(logits, checked, reduction=reduction)
            return loss, output.cross_entropy(probabilities, checked, reduction=reduction).grad_probabilities, grad
        xp = equations.array_namespace(logits)
        at = xp.asarray(checked, device=logits.device)
        losses = equations.loss_from_logits(logits, at)
        grads = equations.grad_probabilities(probabilities, at), equations.grad_logits(logits, at)
        if per_example or n == 0:
            return (losses, *grads) if per_example else (xp.sum(losses), *grads)
        return xp.mean(losses), grads[0] / n, grads[1] / n


def as_network(model: Any) -> Network:
    """A network of NumPy arrays from whatever `explain` takes.

    Raises
    ------
    InputError
        `model` is none of these, or a `Network` cannot represent it.
    """
    layers = conversion.as_layers(model)
    return layers if isinstance(layers, Network) else Network(layers.weights, layers.biases, layers.activation)
