"""The reader that CONTRIBUTING.md shows is run as it stands there."""

import re
import types
from pathlib import Path

import numpy as np
import pytest

from skelmm_core import clips, sources
from skelmm_core.errors import DataError

GUIDE = (Path(__file__).parents[1] / "CONTRIBUTING.md").read_text()


@pytest.fixture
def example(monkeypatch):
    (code,) = re.findall(r"```python\n(.*?)```", GUIDE, re.S)
    lines = [line for line in code.splitlines() if line.strip() and not line.startswith(('"""', "import", "from"))]
    assert len(lines) <= 20, "in twenty lines"
    module = types.ModuleType("skelmm_core.sources.mine")
    exec(compile(code, "CONTRIBUTING.md", "exec"), module.__dict__)
    monkeypatch.setitem(__import__("sys").modules, module.__name__, module)
    monkeypatch.setitem(sources.FORMATS, "mine", module.__name__)


def test_its_files_are_recognised_and_read(example, tmp_path):
    walks = {}
    for number in range(1, 5):
        for action in ("walk", "run"):
            walks[f"{action}_{number:02}"] = joints = np.random.default_rng(number).normal(0, 0.4, (number + 2, 60))
            np.savetxt(tmp_path / f"{action}_{number:02}.txt", joints)
    source = sources.read(tmp_path)
    clips.write(tmp_path / "x.clips", source, progress=False, strict=True)
    found = clips.open_clips(tmp_path / "x.clips")
    assert list(found.names) == sorted(walks) and found.subjects.tolist() == [1, 2, 3, 4] * 2
    for i, name in enumerate(found.names):
        np.testing.assert_allclose(found.joints_of(i)[0], walks[name].reshape(-1, 20, 3), rtol=1e-6)
    (tmp_path / "run_01.txt").write_text("1 2 3\n")
    with pytest.raises(DataError, match="run_01.txt': expected lines of 60 numbers"):
        list(sources.read(tmp_path).recordings)


def test_what_it_speaks_of_is_there():
    root = Path(__file__).parents[1]
    for name in set(re.findall(r"`((?:[\w.]+/)*\w+\.py|\w+/(?:\w+/)?)`", GUIDE)):
        there = [root / name, root / "skelmm_core" / name]
        assert any(path.exists() for path in there), name
    makefile = (root / "Makefile").read_text()
    for target in re.findall(r"`make (\w+)`", GUIDE):
        assert f"\n{target}:" in makefile
