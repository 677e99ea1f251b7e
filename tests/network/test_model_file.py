"""Model files: what is written is read, and every bad file is refused with its reason."""

import json
import pickle
import struct

import numpy as np
import pytest

from chainrule import Network, __version__
from chainrule.boundary.files import sign
from chainrule.errors import InputError, ModelFileError, OutputFileError
from chainrule.network import load_model, save_model

pytest.importorskip("safetensors", reason="safetensors is not installed")


@pytest.fixture
def model(tmp_path):
    path = tmp_path / "model.safetensors"
    schema = {"k": 1, "classes": ["a", "b"]}
    save_model(path, Network.create([3, 4, 2], activation="gelu", seed=1), classes=["a", "b"], schema=schema)
    return path


def rewrite(path, change):
    """The same file with its JSON header changed, and signed again."""
    data = path.read_bytes()
    size = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8 : 8 + size])
    change(header)
    text = json.dumps(header).encode()
    data = struct.pack("<Q", len(text)) + text + data[8 + size :]
    path.write_bytes(sign(data) if b"sha256" in data else data)


def describe(path, **changes):
    def change(header):
        description = json.loads(header["__metadata__"]["chainrule"])
        header["__metadata__"]["chainrule"] = json.dumps(description | changes)

    rewrite(path, change)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_round_trip(tmp_path, dtype):
    net = Network.create([3, 4, 2], activation="silu", seed=2, dtype=dtype)
    net.save(tmp_path / "m.safetensors")
    loaded = Network.load(tmp_path / "m.safetensors")
    assert loaded.activation == "silu"
    for a, b in zip(net.weights + net.biases, loaded.weights + loaded.biases, strict=True):
        assert a.tobytes() == b.tobytes()
        assert a.dtype == b.dtype


def test_what_training_knew_comes_back(model):
    loaded = load_model(model)
    assert (loaded.classes, loaded.schema, loaded.network.widths) == (
        ["a", "b"],
        {"k": 1, "classes": ["a", "b"]},
        [3, 4, 2],
    )
    assert loaded.version == __version__


def test_missing(tmp_path):
    with pytest.raises(ModelFileError, match="No such file"):
        load_model(tmp_path / "none.safetensors")


@pytest.mark.parametrize("keep", [0, 5, 8, 100, -1])
def test_truncated(model, keep):
    model.write_bytes(model.read_bytes()[:keep])
    with pytest.raises(ModelFileError, match="truncated"):
        load_model(model)


@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_a_pickle_in_disguise(model, protocol, tmp_path):
    class Evil:
        def __reduce__(self):
            return (open, (str(tmp_path / "owned"), "w"))

    model.write_bytes(pickle.dumps(Evil(), protocol=protocol))
    with pytest.raises(ModelFileError, match="pickle"):
        load_model(model)
    assert not (tmp_path / "owned").exists()


def test_every_header_length_is_read(tmp_path):
    """A header whose length begins with the bytes of a pickle or a zip is a good header."""
    lengths = set()
    for extra in range(0, 400, 8):
        path = tmp_path / "m.safetensors"
        save_model(path, Network.create([2, 2]), training={"note": "x" * extra})
        lengths.add(path.read_bytes()[0])
        assert load_model(path).training["note"] == "x" * extra
    assert 0x80 in lengths


def test_a_huge_declared_header(model):
    model.write_bytes(struct.pack("<Q", 2**62) + model.read_bytes()[8:])
    with pytest.raises(ModelFileError, match="declares a header of 4611686018427387904 bytes"):
        load_model(model)


def test_a_huge_declared_tensor(model):
    def change(header):
        header["weights.1"]["shape"] = [2**31, 2**31]
        header["weights.1"]["data_offsets"] = [0, 2**64 - 1]

    rewrite(model, change)
    with pytest.raises(ModelFileError, match="damaged"):
        load_model(model)


def test_a_wrong_shape(model):
    describe(model, widths=[3, 5, 2])
    with pytest.raises(ModelFileError, match=r"weights.1 has shape \[4, 3\] .* expected \[5, 3\]"):
        load_model(model)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": 1}, "has format 1, this version reads format 2"),
        ({"widths": [3]}, "widths"),
        ({"widths": [3, 4, -2]}, "widths"),
        ({"widths": "3"}, "widths"),
        ({"widths": None}, "widths"),
        ({"widths": [3, 4, 4, 2]}, "has tensors"),
        ({"activation": "exec"}, "activation"),
        ({"activation": ["relu"]}, "activation"),
        ({"dtype": "object"}, "dtype"),
        ({"dtype": "float64"}, "expected .* float64"),
        ({"classes": ["a"]}, "classes do not fit its 2 output units"),
        ({"classes": "ab"}, "classes do not fit its 2 output units"),
        ({"classes": ["b", "a"]}, r"two lists of classes disagree: \['b', 'a'\] and \['a', 'b'\]"),
        ({"classes": [["a"], "b"]}, r"class \['a'\] is not a text"),
        ({"classes": [{"a": 1}, "b"]}, "is not a text"),
        ({"classes": [None, "b"]}, "is not a text"),
        ({"classes": [float("nan"), "b"]}, "class nan is not"),
        ({"classes": ["a", "a"]}, "two of its classes are the same"),
        ({"schema": [1]}, "schema"),
        ({"training": [1]}, "training"),
    ],
)
def test_a_damaged_description(model, changes, message):
    describe(model, **changes)
    with pytest.raises(ModelFileError, match=message):
        load_model(model)


def test_a_foreign_safetensors_file(model):
    rewrite(model, lambda header: header.pop("__metadata__"))
    with pytest.raises(ModelFileError, match="description is missing"):
        load_model(model)


def test_a_description_that_is_not_json(model):
    rewrite(model, lambda header: header["__metadata__"].update(chainrule="[" * 100_000))
    with pytest.raises(ModelFileError, match="not JSON"):
        load_model(model)


def test_a_failed_write_leaves_the_old_file(model, monkeypatch):
    before = model.read_bytes()

    def full(handle):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OutputFileError, match="No space left"):
        save_model(model, Network.create([2, 2]))
    assert model.read_bytes() == before
    assert [p.name for p in model.parent.iterdir()] == [model.name]


def test_weights_of_another_dtype_are_refused(model):
    with pytest.raises(ValueError, match="float32 or float64"):
        save_model(model, Network([np.ones((2, 2), np.float16)], [np.ones(2, np.float16)]))


def test_arrays_of_another_library_are_refused(model):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    with pytest.raises(InputError, match="network: got arrays of another library"):
        save_model(model, Network([torch.ones(2, 2)], [torch.ones(2)]))


def test_every_flipped_bit_is_noticed(model):
    """Whatever a flipped bit would change, the file is refused: all of the header's, and some of each tensor's."""
    data = model.read_bytes()
    header = 8 + int.from_bytes(data[:8], "little")
    places = [8 * k + k % 8 for k in range(header)] + list(range(8 * header, 8 * len(data), 7))
    for place in places:
        changed = bytearray(data)
        changed[place // 8] ^= 1 << place % 8
        model.write_bytes(changed)
        with pytest.raises(ModelFileError):
            load_model(model)
    model.write_bytes(data)
    load_model(model)


def test_a_file_without_a_digest_says_so(model):
    def change(header):
        description = json.loads(header["__metadata__"]["chainrule"])
        del description["sha256"]
        header["__metadata__"]["chainrule"] = json.dumps(description)

    rewrite(model, change)
    with pytest.raises(ModelFileError, match="has no digest of its own bytes"):
        load_model(model)


def test_a_digest_in_the_description_is_not_the_files(tmp_path):
    path = tmp_path / "m.safetensors"
    save_model(path, Network.create([2, 2]), training={"note": '"sha256":"' + "0" * 64 + '"'})
    assert "sha256" in load_model(path).training["note"]


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_not_finite(model, value):
    """Neither read nor written: every prediction would be NaN."""
    data = model.read_bytes()
    net = load_model(model).network
    at = data.index(net.weights[1].tobytes())
    model.write_bytes(sign(data[: at + 4] + np.float32(value).tobytes() + data[at + 8 :]))
    with pytest.raises(ModelFileError, match=rf"tensor weights.2 holds {value} at \[0, 1\]"):
        load_model(model)
    net.biases[0][2] = value
    with pytest.raises(InputError, match=r"tensor biases.1 holds .* at \[2\]"):
        save_model(model, net)
