"""Large tensors on the CPU have pages of their own, which the system gets back when they are freed."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest

from skelmm_core import experiment, memory

CHILD = """
import ctypes, sys, torch
from skelmm_core.memory import holes_stay_small

class Info(ctypes.Structure):
    _fields_ = [(n, ctypes.c_size_t) for n in "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost".split()]

libc = ctypes.CDLL(None)
libc.mallinfo2.restype = Info
if sys.argv[1] == "asked":
    holes_stay_small()
torch.empty(30 << 20, dtype=torch.uint8)  # freed at once: left alone, glibc takes what is smaller from its heap ever after
before = libc.mallinfo2().hblks
large = torch.empty(5 << 20, dtype=torch.uint8)
small = torch.empty(1 << 20, dtype=torch.uint8)
print(libc.mallinfo2().hblks - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs glibc, whose allocator this is about")
@pytest.mark.parametrize(
    ("how", "chosen", "pages_of_their_own"),
    [
        ("left alone", {}, 0),
        ("asked", {}, 1),
        ("asked", {"MALLOC_MMAP_THRESHOLD_": str(16 << 20)}, 0),
        ("asked", {"GLIBC_TUNABLES": f"glibc.malloc.mmap_threshold={16 << 20}"}, 0),
    ],
)
def test_large_tensors_have_pages_of_their_own_unless_somebody_chose_otherwise(how, chosen, pages_of_their_own):
    free = {name: value for name, value in os.environ.items() if name not in ("MALLOC_MMAP_THRESHOLD_", "GLIBC_TUNABLES")}
    done = subprocess.run([sys.executable, "-c", CHILD, how], capture_output=True, text=True, check=True, env=free | chosen)
    assert int(done.stdout) == pages_of_their_own


def test_training_asks_for_it_on_the_cpu(monkeypatch):
    asked = []
    monkeypatch.setattr(memory, "holes_stay_small", lambda: asked.append(True))
    experiment.make_fabric("cpu", "32-true")
    assert asked == [True]
