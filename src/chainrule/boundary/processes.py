"""The processes of a group of torch.distributed that compute one thing together.

Whatever started them has left an initialised group behind, or torchrun's variables, by which one is made. Each
collective is watched: when a process dies, some of the others notice, and those that would go on waiting for one
another learn it through the group's store. So all of them end with the same error, which names who is missing.
"""

from __future__ import annotations

import os
import re
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

from chainrule.boundary.extras import require
from chainrule.errors import ChainruleError, InputError, ProcessError

__all__ = ["Processes", "launched"]

LOOKS = 0.5  # seconds between two looks at the store, while a collective waits
ANSWERS = 3.0  # seconds that those who live have to say so


def launched() -> Processes | None:
    """The processes that this one was started with: those of an initialised group, or of torchrun's variables; None
    where it is alone."""
    by_torchrun = {"RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"} <= os.environ.keys()
    if not by_torchrun and sys.modules.get("torch.distributed") is None:  # whoever made a group has imported it
        return None
    distributed = require("torch.distributed", "torch")
    if by_torchrun and not (distributed.is_available() and distributed.is_initialized()):
        # after a restart the store still has where the processes of the attempt before were
        store, rank, size = next(iter(distributed.rendezvous("env://")))
        attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
        store = distributed.PrefixStore(f"chainrule/attempt{attempt}", store)
        distributed.init_process_group("gloo", store=store, rank=rank, world_size=size)
    return Processes() if distributed.is_available() and distributed.is_initialized() else None


class Processes:
    """A group, which may be None for all processes.

    rank, size : which of them this one is, and how many there are
    waited : seconds that training spent in waiting for the others' sums

    Raises
    ------
    InputError
        There is no such group, or this process is none of it.
    """

    def __init__(self, group: Any = None) -> None:
        self._distributed: Any = require("torch.distributed", "torch")
        self._torch: Any = require("torch", "torch")
        if not self._distributed.is_available() or not self._distributed.is_initialized():
            raise InputError(
                "group: there is no process group yet, expected torch.distributed.init_process_group first"
            )
        if not (group is None or isinstance(group, self._distributed.ProcessGroup)):
            raise InputError(f"group: got {type(group).__name__}, expected a torch.distributed.ProcessGroup")
        self.group = self._distributed.group.WORLD if group is None else group
        self.rank, self.size = self._distributed.get_rank(self.group), self._distributed.get_world_size(self.group)
        self.waited = 0.0
        if self.rank < 0:
            raise InputError("group: this process is not one of the group")

    # --- collectives ---

    def gather(self, tensor: Any) -> Any:
        """The tensors of all, in the order of ranks, stacked: each has the same shape."""
        parts = [self._torch.empty_like(tensor) for _ in range(self.size)]
        self._run(lambda: self._distributed.all_gather(parts, tensor.contiguous(), group=self.group, async_op=True))
        return self._torch.stack(parts)

    def add(self, tensor: Any) -> Any:
        """Replace a tensor by the sum over all, the same bits everywhere."""
        self._run(lambda: self._distributed.all_reduce(tensor, group=self.group, async_op=True))
        return tensor

    def begin_to_add(self, tensor: Any) -> Callable[[], None]:
        """The same, while the caller does something else: what is returned waits for it."""
        work = self._guarded(lambda: self._distributed.all_reduce(tensor, group=self.group, async_op=True))
        return lambda: self._wait(work)

    def gather_objects(self, value: Any) -> list[Any]:
        """Small Python values of all, in the order of ranks."""
        import pickle

        torch = self._torch
        data = torch.frombuffer(bytearray(pickle.dumps(value)), dtype=torch.uint8)
        sizes = self.gather(torch.tensor([data.numel()]))[:, 0].tolist()
        padded = torch.zeros(max(sizes), dtype=torch.uint8)
        padded[: data.numel()] = data
        found = self.gather(padded)
        return [pickle.loads(row[:size].numpy().tobytes()) for row, size in zip(found, sizes, strict=True)]

    def together(self, work: Callable[[], Any]) -> Any:
        """What `work` gives; where it raises an error of ours in any of them, all raise: none waits for another. `told`
        of the error says whether another has the same to tell."""
        error: BaseException | None = None
        try:
            result = work()
        except ChainruleError as caught:
            error, result = caught, None
        told = self.gather_objects(None if error is None else (type(error), str(error)))
        for rank, other in enumerate(told):
            if other is not None:
                raised: Any = other[0](f"rank {rank}: {other[1]}") if error is None else error
                raised.told = all(told) or error is None  # by another, too
                raise raised
        return result

    def agree(self, name: str, value: Any) -> None:
        """Refuse what differs between the processes."""
        for rank, other in enumerate(self.gather_objects(value)):
            if other != value:
                raise InputError(
                    f"{name}: got {value} on rank {self.rank} and {other} on rank {rank}, expected the same"
                )

    # --- who is missing ---

    def _run(self, begin: Callable[[], Any]) -> None:
        self._wait(self._guarded(begin))

    def _guarded(self, work: Callable[[], Any]) -> Any:
        try:
            return work()
        except RuntimeError as error:
            raise ProcessError(self._missing(str(error))) from error

    def _wait(self, work: Any) -> None:
        if self.group._get_backend_name() != "gloo":  # a device's own watchdog ends what waits too long
            self._guarded(work.wait)
            return
        done = threading.Event()
        work.get_future().add_done_callback(lambda _: done.set())
        while not done.wait(LOOKS):
            if self._store_says(lambda store: store.check([self._key("")])):
                raise ProcessError(self._missing("the others stopped"))
        self._guarded(work.wait)

    def _key(self, rank: object) -> str:
        return f"chainrule/lost/{self.group.group_name}/{rank}"

    def _store_says(self, ask: Callable[[Any], Any]) -> Any:
        try:
            return ask(self._distributed.distributed_c10d._get_default_store())
        except RuntimeError as error:
            raise ProcessError(
                "group: the process that keeps the group's store died, rank 0 unless a launcher keeps it: "
                f"{_first(error)}"
            ) from error

    def _has_said(self, rank: int) -> bool:
        return bool(self._store_says(lambda store: store.check([self._key(rank)])))

    def _missing(self, error: str) -> str:
        """Say that this one lives, and see who does not say so."""
        self._store_says(lambda store: (store.set(self._key(self.rank), ""), store.set(self._key(""), "")))
        ended, missing = time.monotonic() + ANSWERS, list(range(self.size))
        while missing and time.monotonic() < ended:
            time.sleep(0.1)
            missing = [r for r in missing if not self._has_said(r)]
        if self.rank == 0:
            time.sleep(2 * LOOKS)  # the others still ask the store, which this one may keep
        who = " and ".join(f"rank {r}" for r in missing) or "a process"
        return f"group: {who} of {self.size} died, or did not answer in time: {_first(error)}"


def _first(error: object) -> str:
    """Of a message of gloo's, without its place in gloo's source and what it goes on to guess."""
    return re.sub(r"^\[\S+\] ", "", str(error)).split(". This is typically")[0].split("\n")[0][:200]
