"""Processes with a gloo group, which live as long as a test file does and run one case after another: to import PyTorch
takes each of them seconds."""

import multiprocessing
import os
import tempfile
import traceback
from datetime import timedelta
from pathlib import Path

TIMEOUT = 120  # seconds that a case may take


def _serve(rank, size, file, pipe):
    import torch
    import torch.distributed as distributed

    torch.set_num_threads(1)
    distributed.init_process_group(
        "gloo", init_method=f"file://{file}", rank=rank, world_size=size, timeout=timedelta(seconds=TIMEOUT)
    )
    groups = {n: distributed.new_group(list(range(n))) for n in range(1, size)}
    groups[size] = distributed.group.WORLD
    while (case := pipe.recv()) is not None:
        function, n, arguments = case
        try:
            pipe.send((True, function(groups[n], *arguments)))
        except BaseException:
            pipe.send((False, f"rank {rank}: {traceback.format_exc()}"))
    os._exit(0)  # gloo's own threads abort one exit in five, also of processes that have nothing but PyTorch


class Ranks:
    """`size` processes; `run` calls a function of a test file in the first n of them, with their group."""

    def __init__(self, size):
        context = multiprocessing.get_context("spawn")
        self.folder = tempfile.TemporaryDirectory()
        file = Path(self.folder.name) / "store"  # no port of a store's that another test may have
        self.pipes, self.processes = [], []
        for rank in range(size):
            ours, theirs = context.Pipe()
            process = context.Process(target=_serve, args=(rank, size, str(file), theirs), daemon=True)
            process.start()
            theirs.close()
            self.pipes.append(ours)
            self.processes.append(process)

    def run(self, n, function, *arguments):
        """What it gave in each of them."""
        for pipe in self.pipes[:n]:
            pipe.send((function, n, arguments))
        results = [self._result(rank) for rank in range(n)]
        errors = [value for fine, value in results if not fine]
        assert not errors, "\n".join(errors)
        return [value for _, value in results]

    def _result(self, rank):
        if not self.pipes[rank].poll(TIMEOUT):
            return False, f"rank {rank} gave nothing within {TIMEOUT} s"
        try:
            return self.pipes[rank].recv()
        except EOFError:
            self.processes[rank].join(5)
            return False, f"rank {rank} died: {self.processes[rank].exitcode}"

    def close(self):
        for pipe, process in zip(self.pipes, self.processes, strict=True):
            if process.is_alive():
                try:
                    pipe.send(None)
                except OSError:
                    process.kill()
        for process in self.processes:
            process.join(10)
            if process.is_alive():
                process.kill()
                process.join()
        self.folder.cleanup()
