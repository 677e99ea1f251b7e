"""What a benchmark says of where it ran, and how it takes its times."""

from __future__ import annotations

import gc
import importlib.metadata
import os
import platform
import statistics
import sys
import time
from pathlib import Path


def limit_threads(threads: int) -> None:
    """The process, and every library in it, keeps to so many cores; called before what starts threads is imported."""
    # this setting would make NumPy's matrix products slower, for every contestant
    os.environ.pop("OPENBLAS_CORETYPE", None)
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = str(threads)
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])


def facts(*distributions: str) -> dict[str, str]:
    versions = [f"Python {sys.version.split()[0]}"]
    for name in distributions:
        try:
            versions.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            versions.append(f"{name} missing")
    return {"processor": _processor(), "versions": ", ".join(versions)}


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def take_turns(runs: dict, repeats: int, rest: float = 0.01) -> dict[str, float]:
    """The median time of each, in seconds. They take turns, so that a slow moment of the machine meets them all."""
    times: dict[str, list[float]] = {name: [] for name in runs}
    for repeat in range(repeats + 2):
        for name, run in runs.items():
            time.sleep(rest)  # until the last one's threads have ceased to spin
            start = time.perf_counter()
            run()
            if repeat >= 2:  # the first two warm the caches and the page tables, and compile
                times[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in times.items()}


def peak_bytes_of(run) -> int | None:
    """How much the process's resident memory rises above where it stands while `run` runs; None where not known."""
    gc.collect()  # what is freed while `run` runs would count against it
    try:
        Path("/proc/self/clear_refs").write_text("5")  # resets the peak
        before = _status("VmRSS")
        run()
        return _status("VmHWM") - before
    except OSError:
        return None


def _status(field: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * int(next(line for line in lines if line.startswith(field + ":")).split()[1])
