"""What all tests share: real data where there are any, one thread, and properties that are tried the same way every time."""

from __future__ import annotations

import os
from pathlib import Path

import hypothesis
import pytest
import torch

hypothesis.settings.register_profile("skelmm", deadline=None, derandomize=True, max_examples=50)
hypothesis.settings.load_profile("skelmm")


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def shared() -> Path:
    """Folder with the real data and the parity checkpoints, from the environment; tests that need it skip without it."""
    folder = os.environ.get("SKELMM_SHARED")
    if not folder:
        pytest.skip("SKELMM_SHARED is not set: real data and parity checkpoints are absent")
    path = Path(folder)
    assert path.is_dir(), f"SKELMM_SHARED names '{folder}', which is no folder"
    return path
