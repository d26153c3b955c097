"""Small data sets for the tests of readers, written without the readers, and ways to pack them."""

from __future__ import annotations

import io
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import scipy.io


def skeleton_text(frames: list[list[np.ndarray]], newline: str = "\n", joints: int = 25) -> str:
    """An NTU file, line by line after the data set's description; a frame is a list of bodies (25, 3)."""
    lines = [str(len(frames))]
    for bodies in frames:
        lines.append(str(len(bodies)))
        for number, body in enumerate(bodies):
            lines.append(f"7205759403793{number:04} 0 1 1 0 0 0 0.05 -0.5 2")
            lines.append(str(joints))
            for x, y, z in body:
                lines.append(f"{float(x)!r} {float(y)!r} {float(z)!r} 268.1 164.2 1040.5 407.9 0.22 -0.03 0.97 -0.04 2")
    return newline.join(lines) + newline


def people(count: int, seed: int = 0) -> list[np.ndarray]:
    return list(np.random.default_rng(seed).normal(0, 0.5, (count, 25, 3)).astype(np.float32))


def one_of_each_class(frames: int = 3) -> dict[str, str]:
    """Two performers, two actions, the second with two bodies."""
    names = [(p, a) for p in (1, 3) for a in (1, 55)]
    return {
        f"S001C002P{p:03}R002A{a:03}.skeleton": skeleton_text([people(1 + (a == 55), seed=10 * p + f) for f in range(frames)])
        for p, a in names
    }


def folder(path: Path, files: dict[str, str | bytes]) -> Path:
    for name, content in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def zipped(path: Path, files: dict[str, str | bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def tarred(path: Path, files: dict[str, str | bytes]) -> Path:
    with tarfile.open(path, "w:xz") as archive:
        for name, content in files.items():
            data = content if isinstance(content, bytes) else content.encode()
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    return path


def mat(joints: np.ndarray, key: str = "d_skel") -> bytes:
    file = io.BytesIO()
    scipy.io.savemat(file, {key: joints})
    return file.getvalue()


def everything(source) -> list:
    return [(r.name, r.label, r.subject, r.view, r.setup, r.repetition, r.joints.tobytes(), r.joints.shape) for r in source.recordings]


def little_utd() -> tuple[dict[str, bytes], dict[str, np.ndarray]]:
    names = [f"a{a}_s{s}_t1" for a in (27, 3) for s in (2, 1)]
    arrays = {name: np.random.default_rng(i).normal(size=(20, 3, 4 + i)) for i, name in enumerate(names)}
    return {f"Skeleton/{name}_skeleton.mat": mat(a) for name, a in arrays.items()} | {"Skeleton/order.txt": b"x"}, arrays
