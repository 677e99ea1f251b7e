"""Threads beside the kernels: one that changes what they read, and one that the end of the process overtakes."""

import subprocess
import sys

import numpy as np
import pytest

from chainrule._native import _kernels

CHANGING = """
import threading, time
import numpy as np
import chainrule
from chainrule.errors import InputError

labels, seen = np.zeros(4096, np.int64), set()
x = np.ones((4096, 8), np.float32)

def change():
    while True:
        labels[:] = 1 << 40
        labels[:] = 0

threading.Thread(target=change, daemon=True).start()
end = time.monotonic() + 1
while time.monotonic() < end:
    try:
        CALL
    except InputError as error:
        seen.add(str(error).split(":")[0])
print(seen <= {"labels", "x or labels"})
"""
CALLS = {
    "groups": "chainrule.softmax_cross_entropy(x, labels)",
    "rows": "chainrule.softmax_cross_entropy(np.zeros((4096, 600), np.float32), labels)",
    "options": "chainrule.softmax_cross_entropy(x, labels, label_smoothing=0.1)",
    "fit": "chainrule.fit(chainrule.Network.create([8, 4, 2]), x, labels, epochs=3, validation=0.0)",
}
ENDING = """
import sys, threading, time
import numpy as np
import chainrule

def work():
    while True:
        CALL

x, labels = np.ones((20000, 64), np.float32), np.zeros(20000, np.int64)
threading.Thread(target=work, daemon=True).start()
time.sleep(float(sys.argv[1]))
"""


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_labels_that_another_thread_changes_touch_no_foreign_memory(call):
    done = subprocess.run(
        [sys.executable, "-c", CHANGING.replace("CALL", call)], capture_output=True, text=True, timeout=120, check=False
    )
    assert (done.returncode, done.stdout) == (0, "True\n"), done.stderr


@pytest.mark.parametrize("call", [CALLS["groups"], "chainrule.fit(chainrule.Network.create([64, 64, 4]), x, labels)"])
def test_a_process_ends_quietly_while_a_daemon_thread_is_in_a_kernel(call):
    for wait in np.linspace(0.1, 0.4, 3):
        code = [sys.executable, "-c", ENDING.replace("CALL", call), str(wait)]
        done = subprocess.run(code, capture_output=True, text=True, timeout=120, check=False)
        assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("kind", [_kernels.TrainerFloat32, _kernels.TrainerFloat64])
def test_a_rule_that_there_is_not_is_refused(kind):
    dtype = np.float32 if kind is _kernels.TrainerFloat32 else np.float64
    buffers = [np.zeros(3 * 2, dtype) for _ in range(4)]
    with pytest.raises(ValueError, match="no such rule"):
        kind([2, 2], *buffers, {"rule": "lion", "batch_size": 1})
