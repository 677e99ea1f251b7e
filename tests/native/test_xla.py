"""The handlers as XLA sees them, called with frames that are made here after the declarations in XLA's `c_api.h`."""

import ctypes
from ctypes import POINTER, Structure, c_char_p, c_int, c_int64, c_size_t, c_uint32, c_void_p, pointer, sizeof

import numpy as np
import pytest
from naive import loss_and_grad

from chainrule._native import _kernels


def struct(name, **fields):
    return type(name, (Structure,), {"_fields_": [("struct_size", c_size_t), ("more", c_void_p), *fields.items()]})


Version = struct("Version", major=c_int, minor=c_int)
ErrorArguments = struct("ErrorArguments", message=c_char_p, code=c_int)
MakeError = ctypes.CFUNCTYPE(c_void_p, POINTER(ErrorArguments))
Api = struct("Api", version=Version, internal=c_void_p, make_error=MakeError)
Buffer = struct("Buffer", dtype=c_int, data=c_void_p, rank=c_int64, dims=POINTER(c_int64))
Buffers = struct("Buffers", size=c_int64, types=POINTER(c_int), each=POINTER(POINTER(Buffer)))
Attributes = struct("Attributes", size=c_int64, types=POINTER(c_int), names=c_void_p, each=c_void_p)


class Metadata(Structure):
    _fields_ = (("struct_size", c_size_t), ("version", Version), ("traits", c_uint32))


class Extension(Structure):
    _fields_ = (("struct_size", c_size_t), ("kind", c_int), ("next", c_void_p), ("metadata", POINTER(Metadata)))


class Frame(Structure):
    _fields_ = (
        ("struct_size", c_size_t),
        ("extension", POINTER(Extension)),
        ("api", POINTER(Api)),
        ("context", c_void_p),
        ("stage", c_int),
        ("operands", Buffers),
        ("results", Buffers),
        ("attributes", Attributes),
        ("what_later_versions_add", c_void_p * 4),
    )


DTYPES = {"int32": 4, "int64": 5, "float16": 10, "float32": 11, "float64": 12}
pointer_in = ctypes.pythonapi.PyCapsule_GetPointer
pointer_in.restype, pointer_in.argtypes = c_void_p, (ctypes.py_object, c_char_p)


def handler(name):
    return ctypes.CFUNCTYPE(c_void_p, POINTER(Frame))(pointer_in(_kernels.xla_handlers()[f"chainrule_{name}"], None))


def buffers(*arrays):
    each = [
        Buffer(sizeof(Buffer), None, DTYPES[a.dtype.name], a.ctypes.data, a.ndim, (c_int64 * a.ndim)(*a.shape))
        for a in arrays
    ]
    kinds, pointers = (c_int * len(each))(*[1] * len(each)), (POINTER(Buffer) * len(each))(*map(pointer, each))
    return Buffers(sizeof(Buffers), None, len(each), kinds, pointers)


def call(name, operands, results, change=lambda frame: None):
    """The message that the handler gives XLA, or None."""
    messages = []

    def make_error(arguments):
        messages.append((arguments.contents.message.decode(), arguments.contents.code))
        return 0xBAD

    api = Api(sizeof(Api), None, Version(sizeof(Version), None, 0, 3), None, MakeError(make_error))
    frame = Frame(sizeof(Frame), None, pointer(api), None, 3, buffers(*operands), buffers(*results))
    frame.attributes.struct_size = sizeof(Attributes)
    change(frame)
    returned = handler(name)(pointer(frame))
    assert returned == (0xBAD if messages else None)
    assert all(code == 13 for _, code in messages)
    return messages[0][0] if messages else None


def arrays(n=2, k=3, label_dtype="int32"):
    logits = np.random.default_rng(0).standard_normal((n, k))
    return (logits, np.arange(n).astype(label_dtype)), (np.full(n, 7.0), np.full((n, k), 7.0))


@pytest.mark.parametrize("label_dtype", ["int32", "int64"])
def test_a_frame_of_xla_is_read(label_dtype):
    (logits, labels), (losses, grad) = arrays(label_dtype=label_dtype)
    alone = np.full(2, 7.0)
    assert call("loss_and_gradient", (logits, labels), (losses, grad)) is None
    assert call("loss", (logits, labels), (alone,)) is None
    truth = [loss_and_grad(row, label) for row, label in zip(logits.tolist(), labels.tolist(), strict=True)]
    np.testing.assert_allclose(losses, [float(loss) for loss, _ in truth], rtol=1e-14)
    np.testing.assert_allclose(grad, np.array([row for _, row in truth], float), rtol=1e-13)
    assert alone.tobytes() == losses.tobytes()


@pytest.mark.parametrize("label_dtype", ["int32", "int64"])
def test_a_label_out_of_range_is_nan_in_its_row_alone(label_dtype):
    (logits, labels), (losses, grad) = arrays(4, 3, label_dtype)
    labels[1:3] = -1, 3
    labels[3] = 0
    assert call("loss_and_gradient", (logits, labels), (losses, grad)) is None
    assert np.isnan(losses).tolist() == [False, True, True, False]
    assert np.isnan(grad).tolist() == [[False] * 3, [True] * 3, [True] * 3, [False] * 3]


def resize(which, by=-8):
    def change(frame):
        which(frame).struct_size += by

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (resize(lambda frame: frame, by=-sizeof(c_void_p * 4) - 8), "another layout of a call"),
        (resize(lambda frame: frame.operands), "another layout of its buffers"),
        (resize(lambda frame: frame.results, by=8), "another layout of its buffers"),
        (resize(lambda frame: frame.operands.each[1].contents, by=8), "another layout of a buffer"),
        (lambda frame: setattr(frame.operands, "size", 1), "another number of buffers"),
        (lambda frame: setattr(frame.operands.each[0].contents, "dtype", 5), "logits of another dtype"),
        (lambda frame: setattr(frame.operands.each[1].contents, "dtype", 11), "a buffer of another dtype"),
        (lambda frame: setattr(frame.results.each[1].contents, "rank", 1), "a buffer of another shape"),
        (lambda frame: setattr(frame.operands.each[0].contents, "rank", 0), "no classes"),
    ],
)
def test_a_frame_of_another_layout_is_an_error_before_anything_is_written(change, message):
    operands, results = arrays()
    came = call("loss_and_gradient", operands, results, change)
    assert came is not None
    assert came.startswith("chainrule: ")
    assert message in came
    assert all((array == 7).all() for array in results)


@pytest.mark.parametrize(("minor", "expected"), [(3, 3), (9, 9), (None, 1)])
def test_a_handler_is_of_the_version_that_asks(minor, expected):
    metadata = Metadata(sizeof(Metadata), Version(sizeof(Version), None, -1, -1), 0)
    extension = Extension(sizeof(Extension), 1, None, pointer(metadata))

    def ask(frame):
        frame.extension = pointer(extension)
        if minor is None:
            frame.api = None
        else:
            frame.api.contents.version.minor = minor

    assert call("softmax", (), (), ask) is None
    assert (metadata.version.major, metadata.version.minor) == (0, expected)
