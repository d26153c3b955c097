"""How time and memory of a stage-2 step grow with every size, as a figure with the slope of each.

    python benchmarks/growth.py               on this machine; writes benchmarks/results/growth.json and growth.png

From a base point (see `BASE`) one size is changed at a time. Each point runs in a process of its own, since memory is the process's peak
beyond what it has after building the model. The slope is that of a straight line through the logarithms: 1 means in proportion. Points that
have been measured at the same commit are found again, so an interrupted run goes on.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

RESULTS = Path(__file__).parent / "results" / "growth.json"
BASE = dict(batch=16, queue=32768, modalities=6, frames=50, two=18, hidden=16)
RANGES = {
    "batch": (8, 16, 32, 64, 128, 256), "queue": (1024, 8192, 32768, 131072), "modalities": (1, 2, 3, 6), "frames": (32, 50, 64, 128),
    "two": (0, 18, 50, 100), "hidden": (16, 32, 64),
}  # fmt: skip
TITLES = {
    "batch": "clips per step, N", "queue": "queue, K", "modalities": "modalities, S", "frames": "frames, T",
    "two": "clips with a second body, %", "hidden": "base channels",
}  # fmt: skip
SHORT = {"batch": "N", "queue": "K", "modalities": "S", "frames": "T", "two": "% with two", "hidden": "channels"}
SECONDS, MEMORY = "#0072B2", "#D55E00"  # colour-blind safe


def point(size: dict[str, int], steps: int) -> dict[str, float]:
    """Median seconds per step, and peak MiB beyond those of the built model."""
    from benchmarks import watched
    from benchmarks.steps import fast_steps

    width, times = dict(features=16 * size["hidden"]), []
    step = fast_steps(2 if size["modalities"] > 1 else 1, {**size, **width}, size["two"] / 100)
    with watched() as most:
        for _ in range(steps + 1):
            began = time.perf_counter()
            step()
            times.append(time.perf_counter() - began)
    return {"seconds": statistics.median(times[1:]), "mib": most()}


def slope(x: list[float], y: list[float]) -> float:
    """Of the least-squares line through log x, log y; points at 0 are left out."""
    pairs = [(math.log(a), math.log(b)) for a, b in zip(x, y, strict=True) if a > 0 and b > 0]
    mean_x, mean_y = (statistics.mean(column) for column in zip(*pairs, strict=True))
    return sum((a - mean_x) * (b - mean_y) for a, b in pairs) / sum((a - mean_x) ** 2 for a, _ in pairs)


def draw(rows: list[dict], path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    from matplotlib.ticker import LogLocator, NullFormatter

    figure, axes = plt.subplots(2, 3, figsize=(12, 6.4), layout="constrained")
    for axis, (name, title) in zip(axes.flat, TITLES.items(), strict=True):
        some = sorted((r for r in rows if all(r[k] == v for k, v in BASE.items() if k != name)), key=lambda r: r[name])
        x = [r[name] for r in some]
        other = axis.twinx()
        for where, what, colour, marker in ((axis, "seconds", SECONDS, "o"), (other, "mib", MEMORY, "s")):
            y = [r[what] / (1024 if what == "mib" else 1) for r in some]
            text = f"{'time' if what == 'seconds' else 'memory'}, slope {slope(x, y):.2f}"
            where.plot(x, y, color=colour, marker=marker, linestyle="-" if what == "seconds" else "--", label=text)
            where.set_yscale("log")
            ticks = (1, 2, 5) if max(y) > 2 * min(y) else (1, 1.2, 1.5, 2, 2.5, 3, 3.5, 4, 5, 6, 7, 8, 9)
            where.yaxis.set_major_locator(LogLocator(subs=ticks))
            where.yaxis.set_major_formatter("{x:g}")
            where.yaxis.set_minor_formatter(NullFormatter())
            where.tick_params(axis="y", colors=colour, which="both")
        if name != "two":
            axis.set_xscale("log", base=2)
        axis.set_xticks(x, [f"{v:g}" for v in x])
        axis.minorticks_off()
        axis.set_xlabel(title)
        axis.set_ylabel("seconds per step", color=SECONDS)
        other.set_ylabel("GiB beyond weights and queues", color=MEMORY)
        lines = [*axis.get_lines(), *other.get_lines()]
        for where in (axis, other):
            low, high = where.get_ylim()
            where.set_ylim(low, high * (high / low) ** 0.35)  # room for the legend
        axis.legend(lines, [line.get_label() for line in lines], loc="upper left", fontsize=8)
    base = ", ".join(f"{SHORT[k]} = {v}" for k, v in BASE.items())
    figure.suptitle(f"A step of stage 2; all but one size at {base}", fontsize=10)
    figure.savefig(path, dpi=150)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=2, help="measured steps per point, after one to warm up")
    parser.add_argument("--point", help="one point, as JSON: measure and print it")
    args = parser.parse_args()
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    if args.point:
        print(json.dumps(point(json.loads(args.point), args.steps)))
        return
    from skelmm_core import manifest

    command = manifest.command("python", "benchmarks/growth.py")
    shared = {**(manifest.git() or {}), "hardware": manifest.hardware(), "command": command}
    before = json.loads(RESULTS.read_text()) if RESULTS.exists() else []
    rows = [r for r in before if r["commit"] == shared.get("commit") and r["hardware"] == shared["hardware"]]
    for name, values in RANGES.items():
        for value in values:
            size = BASE | {name: value}
            if any(all(r[k] == v for k, v in size.items()) for r in rows):
                continue
            words = [sys.executable, __file__, "--steps", str(args.steps), "--point", json.dumps(size)]
            done = subprocess.run(words, stdout=subprocess.PIPE, text=True)  # its errors are shown
            if done.returncode:
                sys.exit(f"{name} = {value} failed with exit code {done.returncode}; the points before it are kept")
            found = json.loads(done.stdout.splitlines()[-1])
            print(f"{name} = {value}: {found['seconds']:.2f} s, {found['mib']:.0f} MiB", flush=True)
            rows.append({**size, **found, **shared, "date": datetime.now(UTC).date().isoformat()})
            RESULTS.write_text(json.dumps(rows, indent=1) + "\n")
    draw(rows, RESULTS.with_suffix(".png"))
    print(RESULTS.with_suffix(".png"))


if __name__ == "__main__":
    main()
