"""The goals on one large GPU, ready for whoever has one: whole steps against the plain way, the share of the roofline, a whole run.

    python -m benchmarks.card                  an NVIDIA card of 80 GB or more, ten minutes; adds to benchmarks/results/benchmarks.json
    python -m benchmarks.card --toy          at toy size on any device: does it run? Nothing is promised then, and nothing written

Six modalities, 16 channels, 50 frames, K = 32768, N = 128, 18 % of the clips with a second body. The plain way runs in eager float32.

The roofline (Williams et al., CACM 2009) of a step is the least time that its products and their operands need: for every matrix product
and convolution that our step really makes, the larger of its arithmetic over the rate of a large matrix product and of the bytes of its
operands and result over the rate of a large copy, both measured on the same device just before. What lies between the products
(normalisation, activation, dropout, augmentation) counts as free, so no implementation reaches it.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from benchmarks import HEAD, Row
from benchmarks.steps import TOY, TWO, fast_steps, plain_steps
from skelmm_core import manifest

FULL = dict(batch=128, queue=32768, hidden=16, features=256, rounds=3)
FASTER, SHARE, MINUTES = 10.0, 0.35, 30.0  # goals on an H200
STEPS = 300  # that a whole run is projected from, half of them of each stage
TRAIN, EPOCHS = 40_091, 300  # NTU RGB+D 60, cross-subject; half of the epochs are stage 2


class Products(TorchDispatchMode):
    """Collects (arithmetic, bytes, type) of every matrix product and convolution that is made inside."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[float, float, torch.dtype]] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        count = flop_registry.get(func._overloadpacket)
        if count:
            tensors = [x for x in tree_leaves((args, kwargs, result)) if isinstance(x, Tensor)]
            moved = sum(x.numel() * x.element_size() for x in tensors)
            self.found.append((count(*args, **(kwargs or {}), out_val=result), moved, tensors[0].dtype))
        return result


def rates(device: torch.device, size: int = 8192) -> dict[torch.dtype | str, float]:
    """Measured ceilings of a device: operations per second of a (size, size) product, in float32 and bfloat16, and "copy": bytes per second
    read and written by a copy of 16 * size * size bytes."""
    found: dict[torch.dtype | str, float] = {}
    for kind in (torch.float32, torch.bfloat16):
        a = torch.randn(size, size, device=device).to(kind)
        found[kind] = 2 * size**3 / _best(lambda a=a: a @ a, device)
    block = torch.empty(4 * size * size, device=device)
    other = torch.empty_like(block)
    found["copy"] = 2 * 4 * block.numel() / _best(lambda: other.copy_(block), device)
    return found


def roofline(step: Callable[[], float], ceilings: dict[torch.dtype | str, float]) -> float:
    """Seconds that the products of one step need at least."""
    with Products() as products:
        step()
    fallback = ceilings[torch.float32]
    return sum(max(work / ceilings.get(kind, fallback), moved / ceilings["copy"]) for work, moved, kind in products.found)


def measure(toy: bool = False) -> list[Row]:
    """For each stage a row against the plain way and one against the roofline (its seconds in the first column); then a whole run."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if device.type == "cpu" and not toy:
        raise SystemExit("no CUDA device here: the goals on a GPU can't be measured; `--toy` tries the command at toy size")
    size, goal = (TOY, None) if toy else (FULL, FASTER)
    ceilings = rates(device, 512 if toy else 8192)
    rows, seconds = [], {}
    for stage in (1, 2, 3):
        plain, fast = plain_steps(stage, size, TWO), fast_steps(stage, size, TWO)
        least = roofline(fast, ceilings)
        for step in (plain, fast):
            step()  # to warm up
        pairs = [[_seconds(step, device) for step in (plain, fast)] for _ in range(size["rounds"])]
        count = 2 if toy else STEPS // 2
        seconds[stage] = statistics.fmean(_seconds(fast, device) for _ in range(count))
        name = f"{device.type}, stage {stage}, N={size['batch']}"
        rows.append(Row(f"{name}, step", *(statistics.median(c) for c in zip(*pairs, strict=True)),
                        statistics.median(a / b for a, b in pairs), goal))  # fmt: skip
        rows.append(Row(f"{name}, share of roofline", least, seconds[stage], least / seconds[stage], None if toy else SHARE))
    run = TRAIN // size["batch"] * EPOCHS / 2 * (seconds[1] + seconds[2])
    note = f"from {2 if toy else STEPS // 2} steps of each stage; the limit is for a batch of 128"
    name = f"{device.type}, {EPOCHS} epochs of {TRAIN} clips"
    rows.append(Row(name, float("nan"), run, float("nan"), None, note, None if toy else 60 * MINUTES))
    return rows


def _best(run: Callable[[], object], device: torch.device, repeats: int = 5) -> float:
    run()
    return min(_seconds(run, device) for _ in range(repeats))


def _seconds(run: Callable[[], object], device: torch.device) -> float:
    began = time.perf_counter()
    run()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - began


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--toy", action="store_true", help="toy size")
    args = parser.parse_args()
    code = manifest.git() or {}
    rows = measure(args.toy)
    print(HEAD)
    for row in rows:
        print(row)
    if not args.toy:
        from benchmarks.__main__ import write

        write(Path(__file__).parent / "results" / "benchmarks.json", rows, "python -m benchmarks.card", code)
    return int(any(row.missed for row in rows))


if __name__ == "__main__":
    sys.exit(main())
