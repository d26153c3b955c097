"""Raw NTU RGB+D `.skeleton` files: the plain parser of the field's code against ours.

The plain one is that of ST-GCN, 2s-AGCN and others, line by line: every field becomes an entry of a dictionary, and x, y, z of the
dictionaries become an array. It reads a sample of the files on one core; ours reads the same files on one core, and then, as
`skelmm prepare` does, all files with all cores, through `reading.examine`, starting its processes included.

The files are generated, as long as those of NTU: 85 frames in the mean, 300 at most, 18 % with two bodies. Some hundred are different, the
others are hard links to them, so what is measured is reading from memory, not from a disk.

    python -m benchmarks.parsing --memory 20000     instead: peak memory while so many files are prepared
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from benchmarks import Row, sized
from skelmm_core import clips, manifest, sources
from skelmm_core.reading import examine
from skelmm_core.sources import ntu_text

GOAL = 30.0  # times
NTU60 = 56_880  # files
BODY_KEYS = [
    "bodyID", "clipedEdges", "handLeftConfidence", "handLeftState", "handRightConfidence", "handRightState", "isResticted", "leanX",
    "leanY", "trackingState",
]  # fmt: skip
JOINT_KEYS = [
    "x", "y", "z", "depthX", "depthY", "colorX", "colorY", "orientationW", "orientationX", "orientationY", "orientationZ",
    "trackingState",
]  # fmt: skip


def plain_fields(path: str) -> dict:
    """All of a file in dictionaries."""
    with open(path) as file:
        sequence = {"numFrame": int(file.readline()), "frameInfo": []}
        for _ in range(sequence["numFrame"]):
            frame = {"numBody": int(file.readline()), "bodyInfo": []}
            for _ in range(frame["numBody"]):
                body = {key: float(value) for key, value in zip(BODY_KEYS, file.readline().split(), strict=False)}
                body["numJoint"] = int(file.readline())
                body["jointInfo"] = []
                for _ in range(body["numJoint"]):
                    joint = {key: float(value) for key, value in zip(JOINT_KEYS, file.readline().split(), strict=False)}
                    body["jointInfo"].append(joint)
                frame["bodyInfo"].append(body)
            sequence["frameInfo"].append(frame)
    return sequence


def plain(path: str, bodies: int = 2, joints: int = 25) -> np.ndarray:
    """(3, T, 25, 2) float64 of a file."""
    sequence = plain_fields(path)
    data = np.zeros((3, sequence["numFrame"], joints, bodies))
    for n, frame in enumerate(sequence["frameInfo"]):
        for m, body in enumerate(frame["bodyInfo"]):
            for j, joint in enumerate(body["jointInfo"]):
                if m < bodies and j < joints:
                    data[:, n, j, m] = [joint["x"], joint["y"], joint["z"]]
    return data


def generate(folder: Path, different: int, files: int, seed: int = 0, mean: float = 85, joints: bool = True) -> list[str]:
    """Writes the files and links, all of different names; gives the paths. mean: of the frames; joints: False leaves out all but the
    first line of each file and its first body count."""
    sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
    from writers.ntu import recording, text

    rng, paths = np.random.default_rng(seed), []
    folder.mkdir()
    for i in range(files):
        path = folder / f"S{1 + i // 45_000:03}C{1 + i % 3:03}P{1 + i // 900 % 50:03}R{1 + i // 60 % 15:03}A{1 + i % 60:03}.skeleton"
        if i < different:
            frames = int(np.clip(mean * rng.lognormal(-0.09, 0.42), mean / 4, 300))
            bodies = 1 + int(rng.random() < 0.18)
            content = text(recording(bodies, frames, 1 + i % 60, rng), rng) if joints else f"{frames}\n{bodies}\n"
            path.write_text(content, encoding="ascii")
        else:
            os.link(paths[i % different], path)
        paths.append(str(path))
    return paths


FULL = dict(different=240, files=NTU60, sample=60, rounds=3, mean=85)
TOY = dict(different=8, files=16, sample=8, rounds=1, mean=85)


def measure(toy: bool = False, rounds: int | None = None) -> list[Row]:
    size = sized(TOY if toy else FULL, rounds)
    different, files, sample = size["different"], size["files"], size["sample"]
    with tempfile.TemporaryDirectory() as scratch:
        paths = generate(Path(scratch) / "raw", different, files, mean=size["mean"])
        source = sources.read(Path(scratch) / "raw")
        mean = sum(map(os.path.getsize, paths[:different])) / different
        slow, alone, whole = [], [], []
        for round in range(size["rounds"]):  # in turn, so that what else the machine does hits them alike
            some = [paths[(round * sample + i) % different] for i in range(sample)]
            number = sum(map(os.path.getsize, some)) / mean  # of files of the mean size
            slow.append(_seconds(lambda some=some: [plain(p) for p in some]) / number)
            alone.append(_seconds(lambda some=some: [ntu_text.scene(Path(p).read_bytes(), p, 2) for p in some]) / number)
            whole.append(_seconds(lambda: sum(len(found) for found in examine(source))) / files)
    return _rows(slow, alone, whole, mean, None if toy or manifest.cores() < 2 else GOAL)


def _rows(slow: list[float], alone: list[float], whole: list[float], mean: float, goal: float | None) -> list[Row]:
    """From seconds per file, round by round."""
    median, cores = statistics.median, manifest.cores()
    note = (
        f"seconds per file of {mean / 1024:.0f} KiB; NTU-60 ({NTU60} files) would take {median(whole) * NTU60:.0f} s on {cores} cores, "
        f"the plain parser {median(slow) * NTU60 / 60:.0f} min on one"
    )
    one = median(s / a for s, a in zip(slow, alone, strict=True))
    every = median(s / w for s, w in zip(slow, whole, strict=True))
    return [
        Row("NTU .skeleton, parsing, one core", median(slow), median(alone), one),
        Row(f"NTU .skeleton, reading, {cores} cores (plain: 1)", median(slow), median(whole), every, goal, note),
    ]


def _seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def memory(files: int, different: int = 240) -> str:
    """Peak memory, MiB, of this process and of those that it starts while `files` are prepared."""
    import psutil

    process, peak, done = psutil.Process(), {"this": 0, "all": 0}, threading.Event()

    def watch() -> None:
        while not done.wait(0.2):
            alone = process.memory_full_info().uss
            others = 0
            for child in process.children(recursive=True):
                try:
                    others += child.memory_full_info().uss
                except psutil.Error:
                    continue
            peak["this"], peak["all"] = max(peak["this"], alone), max(peak["all"], alone + others)

    with tempfile.TemporaryDirectory() as scratch:
        generate(Path(scratch) / "raw", different, files)
        before = process.memory_full_info().uss
        watcher = threading.Thread(target=watch)
        watcher.start()
        report = clips.write(Path(scratch) / "all.clips", sources.read(Path(scratch) / "raw"), progress=False)
        done.set()
        watcher.join()
        size = (Path(scratch) / "all.clips").stat().st_size
    return (
        f"{report.clips} clips in {report.seconds:.1f} s, {size >> 20} MiB: this process {peak['this'] >> 20} MiB ({before >> 20} before), "
        f"all processes {peak['all'] >> 20} MiB"
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--memory", type=int, default=20_000, metavar="FILES")
    print(memory(parser.parse_args().memory))
