"""What a benchmark says of where it ran, and how it takes its times."""

from __future__ import annotations

import gc
import importlib.metadata
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from pathlib import Path


def limit_threads(threads: int) -> None:
    """The process, and every library in it, keeps to so many cores; called before what starts threads is imported."""
    for name in ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE"):  # which would make NumPy's products slower, for everybody
        os.environ.pop(name, None)
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


def run_workers(module: str, threads: list[int], packages: tuple[str, ...], path: Path, tell) -> None:
    """Run `python -m module … --worker N` for each number of threads, print what `tell` makes of each line of JSON that
    it prints, and write all of them to a file."""
    about, records = facts(*packages), []
    print("\n".join(f"{name}: {value}" for name, value in about.items()))
    for count in threads:
        command = [sys.executable, "-m", module, *sys.argv[1:], "--worker", str(count)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            for line in process.stdout:
                records.append(json.loads(line))
                print(tell(records[-1], records[:-1]), flush=True)
        if process.returncode:
            sys.exit(f"the process with {count} threads ended with {process.returncode}")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(about | {"results": records}, indent=1))
    print(f"\nwritten to {path}")


def blas() -> str:
    """What NumPy's BLAS is, and for which processor its kernels are."""
    try:
        from threadpoolctl import threadpool_info
    except ImportError:
        return "unknown"
    found = [lib for lib in threadpool_info() if lib["user_api"] == "blas" and "numpy" in lib["filepath"]]
    return ", ".join(f"{lib['internal_api']} {lib['version']} {lib.get('architecture', '')}".strip() for lib in found)


def take_turns(runs: dict, repeats: int, rest: float = 0.01, awake: bool = False) -> dict[str, float]:
    """The median time of each, in seconds; see `turns`."""
    return {name: statistics.median(times) for name, times in turns(runs, repeats, rest, awake).items()}


def turns(runs: dict, repeats: int, rest: float = 0.01, awake: bool = False) -> dict[str, list[float]]:
    """The times of each, in seconds. They take turns, so that a slow moment of the machine meets them all. With
    `awake` each runs once more before it is timed: its threads are awake then, as in a loop of its own."""
    times: dict[str, list[float]] = {name: [] for name in runs}
    for repeat in range(repeats + 2):
        for name, run in runs.items():
            time.sleep(rest)  # until the last one's threads have ceased to spin
            if awake:
                run()
            start = time.perf_counter()
            run()
            if repeat >= 2:  # the first two warm the caches and the page tables, and compile
                times[name].append(time.perf_counter() - start)
    return times


def paired_ratio(times: list[float], others: list[float]) -> float:
    """The median of the ratios of what was timed in the same turn."""
    return statistics.median(a / b for a, b in zip(times, others, strict=True))


def repeated(run, calls: int):
    """So many calls, timed together where one is short."""

    def every():
        for _ in range(calls):
            run()

    return every


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
