"""Where the time of a training step goes, the plain way and ours: the largest items of torch.profiler, by kind.

    python -m benchmarks.hot_spots --stage 2 --way plain        and --way fast

Names an operator with the shapes of its tensors; times are those of the operator itself, without what it calls.
"""

from __future__ import annotations

import argparse

from torch.profiler import ProfilerActivity, profile

from benchmarks.steps import FULL, TOY, TWO, WAYS


def items(way: str, stage: int, size: dict) -> list[tuple[str, str, int, float]]:
    """(operator, shapes, calls, seconds) of one step after one to warm up, the longest first."""
    step = WAYS[way](stage, size, TWO)
    step()
    with profile(activities=[ProfilerActivity.CPU], record_shapes=True) as found:
        step()
    rows = found.key_averages(group_by_input_shape=True)
    listed = [(r.key, str([s for s in r.input_shapes if s]), r.count, r.self_cpu_time_total / 1e6) for r in rows]
    return sorted(listed, key=lambda row: -row[3])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stage", type=int, choices=(1, 2, 3), default=2)
    parser.add_argument("--way", choices=WAYS, default="fast")
    parser.add_argument("--rows", type=int, default=25, help="how many items")
    parser.add_argument("--toy", action="store_true", help="toy size")
    args = parser.parse_args()
    found = items(args.way, args.stage, TOY if args.toy else FULL)
    total = sum(seconds for *_, seconds in found)
    by_name: dict[str, float] = {}
    for name, *_, seconds in found:
        by_name[name] = by_name.get(name, 0.0) + seconds
    print(f"stage {args.stage}, {args.way}: {total:.2f} s in operators")
    for name, seconds in sorted(by_name.items(), key=lambda pair: -pair[1])[:10]:
        print(f"  {100 * seconds / total:5.1f} %  {name}")
    for name, shapes, calls, seconds in found[: args.rows]:
        print(f"  {1000 * seconds:8.1f} ms  {calls:5d} x {name}  {shapes[:110]}")


if __name__ == "__main__":
    main()
