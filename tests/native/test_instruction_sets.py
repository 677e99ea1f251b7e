"""Which instruction set's kernels run, what each makes of special values, and that no set's code serves another.

The kernels' other tests run once for every set that the machine has: `make test` gives them CHAINRULE_INSTRUCTION_SET.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

import chainrule
from chainrule._native import _kernels

NAMES = ["baseline", "x86-64-v3", "x86-64-v4"]
FORMATS = [np.float16, ml_dtypes.bfloat16, np.float32, np.float64]
OBJECTS = sorted(Path(__file__).parents[2].glob("build/*/CMakeFiles/*_x86_64_v[34].dir"))


def asked(name, code):
    """What the code prints, or the last line of its error, in a process that is told to use an instruction set."""
    environment = os.environ | {"CHAINRULE_INSTRUCTION_SET": name}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else done.stderr.strip().splitlines()[-1]


@pytest.mark.parametrize("name", [*NAMES, "x86-64-v5", "avx2", "BASELINE"])
def test_the_variable_chooses_among_what_the_processor_has(name):
    code = "import chainrule; chainrule.softmax([[0.0]]); print(chainrule.which_kernel())"
    if name in _kernels.instruction_sets():
        assert asked(name, code).startswith(f"native, {name}, ")
    else:
        have = ", ".join(_kernels.instruction_sets())
        wanted = f"got '{name}', expected one that this processor and this build have: {have}"
        assert asked(name, code).endswith(f"InputError: CHAINRULE_INSTRUCTION_SET: {wanted}")


def test_an_unknown_name_is_an_error_at_every_first_use_and_not_at_the_import():
    uses = [
        "chainrule.softmax([[0.0]])",
        "chainrule.which_kernel()",
        "chainrule.linear_cross_entropy([[1.0]], [[1.0]], [0])",
        "chainrule.fit(chainrule.Network.create([1, 2]), np.ones((4, 1)), [0, 1, 0, 1], epochs=1)",
    ]
    code = "import numpy as np, chainrule\n" + "".join(
        f"try: {use}\nexcept chainrule.ChainruleError as error: print(str(error)[:37])\n" for use in uses
    )
    assert asked("none", code).splitlines() == ["CHAINRULE_INSTRUCTION_SET: got 'none'"] * len(uses)


def test_the_best_set_is_what_runs_untold():
    assert _kernels.instruction_sets()[0] == "baseline"
    code = "import chainrule; print(chainrule.which_kernel().split(', ')[1])"
    assert asked("", code) == _kernels.instruction_sets()[-1]


# K decides which kernel runs: rows in groups, padded or not, whole vectors with and without a rest, blocks of 256.
@pytest.mark.parametrize("k", [2, 3, 10, 16, 17, 100, 513, 700])
@pytest.mark.parametrize("dtype", FORMATS)
@pytest.mark.parametrize("options", [{}, {"temperature": 0.5}, {"label_smoothing": 0.1}, {"z_loss": 0.1}], ids=str)
def test_special_values(k, dtype, options):
    """Beside ordinary rows: NaN where it is right and nowhere else, and a masked class counts for nothing."""
    rng = np.random.default_rng(k)
    logits = rng.normal(size=(9, k)).astype(dtype)
    labels = rng.integers(0, k, 9)
    plain = chainrule.softmax_cross_entropy(logits.copy(), labels, reduction="none", **options)
    other = (labels + 1) % k
    logits[1] = -np.inf
    logits[3, other[3]] = np.nan
    logits[4, labels[4]] = np.inf
    logits[6, other[6]] = np.inf
    logits[7] = np.inf
    if "label_smoothing" not in options:
        logits[8, other[8]] = -np.inf
    loss, grad = chainrule.softmax_cross_entropy(logits, labels, reduction="none", **options)
    loss, grad = np.asarray(loss, np.float64), np.asarray(grad, np.float64)
    for row in (1, 3, 4, 6, 7):
        assert np.isnan(grad[row]).all(), row
        assert np.isnan(loss[row]), row
    for row in (0, 2, 5):
        assert loss[row] == plain.loss[row]
        np.testing.assert_array_equal(grad[row], np.asarray(plain.grad_logits[row], np.float64))
    if "label_smoothing" not in options:
        assert grad[8, other[8]] == 0.0
        rest = np.delete(logits[8:], other[8], axis=1), np.array([labels[8] - (labels[8] > other[8])])
        alone = chainrule.softmax_cross_entropy(*rest, reduction="none", **options)
        wide = 4 * float(ml_dtypes.finfo(dtype).eps)
        np.testing.assert_allclose(loss[8:], np.asarray(alone.loss, np.float64), rtol=wide, atol=1e-9)
    for function in (chainrule.softmax, chainrule.log_softmax):
        found = np.asarray(function(logits), np.float64)
        assert [np.isnan(row).all() for row in found[[1, 3, 4, 6, 7]]] == [True] * 5
        assert np.isfinite(found[[0, 2, 5]]).all()


def test_the_largest_logits_with_a_z_loss():
    loss, grad = chainrule.softmax_cross_entropy(np.array([[1e308, 0.0]]), [0], z_loss=1e-300)
    assert loss == np.inf
    np.testing.assert_allclose(grad, [[2e8, 0.0]])  # 2λ lse


@pytest.mark.skipif(sys.platform != "linux", reason="nm is asked about Linux's object files")
def test_no_function_is_shared_by_two_sets():
    """A linker keeps one of several definitions of a name: one for another set would run where it cannot."""
    assert OBJECTS or len(_kernels.instruction_sets()) == 1
    if shutil.which("nm") is None:
        pytest.fail("nm, which comes with every compiler on Linux, is not installed")
    for folder in OBJECTS:
        own = "chainrule::" + re.search(r"x86_64_v\d", folder.name)[0] + "::"
        for file in folder.rglob("*.o"):
            names = subprocess.run(["nm", "-C", "--defined-only", file], capture_output=True, text=True, check=True)
            shared = [line for line in names.stdout.splitlines() if re.search(r" [uVW] ", line)]
            assert [line for line in shared if own not in line] == [], file
