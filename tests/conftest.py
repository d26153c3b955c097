"""What all tests share: real data where there are any, one thread, and properties that are tried the same way every time."""

from __future__ import annotations

import os
from pathlib import Path

import hypothesis
import pytest
import torch
from chromium import browser, lab, open_page, pictures  # noqa: F401 - fixtures of tests that are marked "browser"

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


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--new-pictures", action="store_true", help="screenshots become the small pictures that they are compared with")


# Workers of xdist take whole files, in this order: the longest first, so that no worker is left with one of them when the others are done.
LONGEST = (
    "test_notebooks", "test_cli", "test_kills", "test_browser_notebooks", "test_isolation", "test_processes", "test_soak", "test_browser",
    "test_browser_lab", "test_benchmarks",
    "test_slurm", "test_ablation", "test_stages", "test_real_motion", "test_torn", "test_browser_map", "test_verify",
    "test_faults", "test_sweep",
)  # fmt: skip


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: LONGEST.index(item.path.stem) if item.path.stem in LONGEST else len(LONGEST))
