"""Several processes that train one model together, each on its own device: their Fabric, and what they have to agree on.

Started by torchrun, or by Slurm's srun, on one machine or several (see `launch`). Each has all clips, the whole model and all queues,
takes its share of every batch, and computes what one process with the whole batch would. The first one alone writes and speaks.
"""

from __future__ import annotations

import gc
import inspect
import time
import warnings
from collections.abc import Callable
from typing import Any, TypeVar, cast

import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins.environments.slurm import SLURMEnvironment
from lightning_fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from lightning_fabric.strategies.ddp import DDPStrategy
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from skelmm_core.errors import SettingsError, SkelmmError
from skelmm_core.launch import TORCHRUN, Launch, forget, launched

T = TypeVar("T")
SETTLING = 0.1  # seconds


def fabric(kind: str, precision: str, found: Launch) -> Fabric:
    """Fabric of the processes that were launched together; they are connected when it returns. kind: "cpu" or "cuda"."""
    if kind not in ("cpu", "cuda"):
        raise SettingsError(f"several processes work on cpu or cuda, found device '{kind}': start one process")
    if kind == "cuda" and torch.cuda.device_count() < found.per_machine:
        raise SettingsError(
            f"{found.per_machine} processes on this machine take a GPU each, and each must see all of them; this one sees "
            f"{torch.cuda.device_count()}. Start fewer, or, under Slurm, give --gpus-per-node, not --gpus-per-task; or use device=cpu"
        )
    # Buffers are equal by construction, and a queue is large. Which parameters have no part in a stage (heads that only IKEM looks at)
    # does not change within it, so DDP finds them in the first step.
    knows = inspect.signature(DistributedDataParallel).parameters
    buffers = "forward_sync_buffers" if "forward_sync_buffers" in knows else "broadcast_buffers"
    strategy = DDPStrategy(static_graph=True, **cast(dict[str, Any], {buffers: False}))
    made = Fabric(
        accelerator=kind, devices=found.per_machine, num_nodes=found.count // found.per_machine, strategy=strategy,
        precision=cast(Any, precision),
        plugins=[TorchElasticEnvironment() if found.by == TORCHRUN else SLURMEnvironment()],
    )  # fmt: skip
    warnings.filterwarnings("ignore", "Grad strides do not match bucket view strides")  # of 1x1 kernels, whose strides mean nothing
    made.launch()
    return made


def first_makes(fabric: Fabric, make: Callable[[], T]) -> T:
    """What `make` gives in the first process, for all; its `SkelmmError` is raised in all. Tensors must be on the CPU."""
    if fabric.world_size == 1:
        return make()
    made: T | None = None
    error: SkelmmError | None = None
    if fabric.is_global_zero:
        try:
            made = make()
        except SkelmmError as problem:
            error = problem
    made, error = fabric.broadcast((made, error))
    if error is not None:
        raise error
    return cast(T, made)


def same(fabric: Fabric, value: str, what: str) -> None:
    """Raises `SettingsError` in all processes where they don't all have the same value."""
    if fabric.world_size == 1:
        return
    values: list[str] = [""] * fabric.world_size
    torch.distributed.all_gather_object(values, value)
    other = [str(i + 1) for i, v in enumerate(values) if v != values[0]]
    if other:
        raise SettingsError(
            f"{what} must be the same for all processes, but process {', '.join(other)} of {len(values)} has others than the first; "
            "give all machines the same command and the same files"
        )


def share(fabric: Fabric, count: int) -> slice:
    """The part of `count` rows that is this process's; `count` must divide."""
    size = count // fabric.world_size
    return slice(fabric.global_rank * size, (fabric.global_rank + 1) * size)


def gathered(fabric: Fabric, x: Tensor) -> Tensor:
    """Shares (S, n, D) of all processes, in the order of the whole: (S, N, D)."""
    if fabric.world_size == 1:
        return x
    x = x.contiguous()
    shares = [torch.empty_like(x) for _ in range(fabric.world_size)]
    torch.distributed.all_gather(shares, x)
    return torch.cat(shares, dim=1)


def part() -> bool:
    """Ends the work together, in all processes. Whether this one goes on: the first does, and is alone from here on."""
    number = launched().number
    if torch.distributed.is_initialized():
        # gloo's thread frees the tensors of the last exchange under the group's lock, and waits for Python's; whoever frees the group with
        # Python's lock in hand, as the reducer of a wrapped model that is collected does, then waits for ever. So models that are gone go
        # while the group is still held, and the thread gets time to end.
        gc.collect()
        time.sleep(SETTLING)
        torch.distributed.destroy_process_group()
    forget()
    return number == 0
