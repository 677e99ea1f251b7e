"""`threadpoolctl`'s limits hold for Chainrule's threads, whoever is imported first."""

import os
import subprocess
import sys

import numpy as np
import pytest

pytest.importorskip("threadpoolctl", reason="threadpoolctl is not installed")

FIRST = "import chainrule; from threadpoolctl import threadpool_info, threadpool_limits"
LAST = "from threadpoolctl import threadpool_info, threadpool_limits; import chainrule"
USES = """
def most():
    return int(chainrule.which_kernel().split(", ")[2].split()[0])
def told():
    return [lib["num_threads"] for lib in threadpool_info() if lib["internal_api"] == "chainrule"]
print(most(), told())
with threadpool_limits(1):
    print(most(), told())
with threadpool_limits(1, user_api="blas"):
    print(most(), told())
print(most(), told())
"""


def run(code, **environment):
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ | environment
    )
    return done.stdout.split("\n")[:-1]


@pytest.mark.parametrize("imports", [FIRST, LAST, "import threadpoolctl\n" + FIRST])
def test_limits_hold_and_end(imports):
    assert run(imports + USES, OMP_NUM_THREADS="3") == ["3 [3]", "1 [1]", "3 [3]", "3 [3]"]


def test_a_fit_in_each_of_two_processes_of_joblib_takes_its_share_of_the_threads():
    joblib = pytest.importorskip("joblib", reason="joblib is not installed")
    pytest.importorskip("sklearn", reason="scikit-learn is not installed")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()

    def fitted(seed):
        from chainrule._native import _kernels
        from chainrule.sklearn import MLPClassifier

        x = np.random.default_rng(seed).normal(size=(40, 3))
        return _kernels.max_threads(), MLPClassifier((4,), max_iter=2, tol=1.0).fit(x, x[:, 0] > 0)._threads()

    environment = os.environ.pop("OMP_NUM_THREADS", None)
    try:
        found = joblib.Parallel(n_jobs=2)(joblib.delayed(fitted)(seed) for seed in range(2))
    finally:
        if environment is not None:
            os.environ["OMP_NUM_THREADS"] = environment
    assert found == [(max(1, cores // 2),) * 2] * 2
