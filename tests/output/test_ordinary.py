"""The ordinary call, which the native part takes whole: the same bits as every other, and nothing else is taken."""

import itertools

import numpy as np
import pytest

from chainrule import softmax_cross_entropy
from chainrule.boundary.arrays import empty
from chainrule.errors import InputError
from chainrule.output.options import LossOptions, ordinary_loss


def case(n=7, k=5, dtype="float32"):
    random = np.random.default_rng([n, k])
    return random.normal(0, 3, (n, k)).astype(dtype), random.integers(0, k, n)


def is_ordinary(logits, labels, ignore_index=None):
    return ordinary_loss(logits, labels, LossOptions.checked("mean", ignore_index), 1) is not None


OPTIONS = list(itertools.product(["mean", "sum", "none"], [0.0, 0.1], [None, 2], [1.0, 0.7], [0.0, 0.01]))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", [(0, 3), (1, 1), (1, 10), (7, 5), (300, 70)])
def test_it_has_the_bits_of_the_way_through_python(shape, dtype):
    logits, labels = case(*shape, dtype)
    for reduction, smoothing, ignore_index, temperature, z_loss in OPTIONS:
        options = {
            "reduction": reduction,
            "label_smoothing": smoothing,
            "ignore_index": ignore_index,
            "temperature": temperature,
            "z_loss": z_loss,
        }
        loss, grad = softmax_cross_entropy(logits, labels, **options)
        # `out` is not ordinary
        other_loss, other_grad = softmax_cross_entropy(logits, labels, out=np.empty_like(logits), **options)
        assert type(loss) is type(other_loss)
        assert loss.dtype == grad.dtype == logits.dtype
        assert loss.tobytes() == other_loss.tobytes()
        assert grad.tobytes() == other_grad.tobytes()


def test_a_large_loss_overflows_to_infinity_as_on_the_other_way():
    logits, labels = np.array([[0.0, 3e38], [0.0, 3e38]], np.float32), np.array([0, 0])
    loss, grad = softmax_cross_entropy(logits, labels, reduction="sum")
    assert loss == np.inf
    assert grad.tolist() == [[-1.0, 1.0], [-1.0, 1.0]]


class Own(np.ndarray):
    pass


def misaligned(array):
    memory = np.zeros(array.nbytes + 1, np.uint8)
    view = memory[1:].view(array.dtype).reshape(array.shape)
    view[...] = array
    return view


def read_only(array):
    array.flags.writeable = False
    return array


def test_which_arrays_are_ordinary():
    a, y = case()
    laid = a.astype(np.float64), np.asfortranarray(a), a[::-1, ::-1], a[:, :1].repeat(5, 1), read_only(a.copy())
    for logits in (a, *laid):
        assert is_ordinary(logits, y)
    dtypes = (a.astype(dtype) for dtype in (np.float16, int, ">f4", complex, object, bool))
    kinds = a.tolist(), None, a.view(Own), np.ma.masked_array(a), misaligned(a)
    for logits in (*dtypes, *kinds, a[0], a[:, :0], a[None], a[:6]):
        assert not is_ordinary(logits, y)
    assert is_ordinary(a, read_only(y.copy()))
    assert is_ordinary(a, np.where(y == 0, -100, y), -100)
    dtypes = (y.astype(dtype) for dtype in (np.int32, np.uint64, float, ">i8", object))
    kinds = y.tolist(), None, y.view(Own), misaligned(y), np.repeat(y, 2)[::2]
    out_of_range = np.where(np.arange(7) == 6, 5, y), y - 5
    for labels in (*dtypes, *kinds, *out_of_range, y[:6], y[:, None], np.eye(5)[y]):
        assert not is_ordinary(a, labels)


def test_what_is_not_ordinary_is_computed_or_refused_in_words():
    a, y = case()
    wanted = softmax_cross_entropy(a, y)
    for logits, labels in ((misaligned(a), y), (a.view(Own), y), (a, y.astype(np.int32)), (a, np.repeat(y, 2)[::2])):
        loss, grad = softmax_cross_entropy(logits, labels)
        assert loss == wanted.loss
        assert np.asarray(grad).tobytes() == wanted.grad_logits.tobytes()
    with pytest.raises(InputError, match=r"labels: got 5 at index 6, expected integers in \[0, 5\)"):
        softmax_cross_entropy(a, np.where(np.arange(7) == 6, 5, y))
    with pytest.raises(InputError, match=r"logits: got shape \(5,\), expected rank 2"):
        softmax_cross_entropy(a[0], y)


def test_options_that_can_change_are_read_again():
    logits, labels = case()
    temperature = np.array(2.0)
    warm = softmax_cross_entropy(logits, labels, temperature=temperature).loss
    temperature[...] = 4.0
    assert softmax_cross_entropy(logits, labels, temperature=temperature).loss != warm
    assert softmax_cross_entropy(logits, labels, temperature=2.0).loss == warm


@pytest.mark.parametrize("shape", [(0,), (3,), (1, 10), (7, 0), (33, 65)])
@pytest.mark.parametrize("dtype", ["float64", "float32", np.uint16, np.int64, bool])
def test_results_begin_on_a_cache_line(shape, dtype):
    made = [empty(shape, dtype) for _ in range(9)]
    for array in made:
        assert (array.shape, array.dtype) == (shape, np.dtype(dtype))
        assert array.flags.c_contiguous
        assert array.flags.writeable
        assert array.ctypes.data % 64 == 0
    for i, array in enumerate(made):
        array[...] = i % 2
    assert all((array == i % 2).all() for i, array in enumerate(made))
