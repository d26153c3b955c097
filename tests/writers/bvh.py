"""Writes BVH motion capture: a Mixamo-like hierarchy in centimetres, a folder per class, files named subject and take."""

from __future__ import annotations

from pathlib import Path

import numpy as np

SIDES = (("Left", 1.0), ("Right", -1.0))


def hierarchy() -> list[tuple[str, str, tuple[float, float, float]]]:
    """(name, parent, offset): hips at 95 cm, a head whose end is at about 170 cm."""
    joints = [
        ("Hips", "", (0, 95, 0)), ("Spine", "Hips", (0, 20, 0)), ("Spine1", "Spine", (0, 20, 0)), ("Neck", "Spine1", (0, 12, 0)),
        ("Head", "Neck", (0, 8, 0)), ("End", "Head", (0, 15, 0)),
    ]  # fmt: skip
    for side, x in SIDES:
        joints += [
            (f"{side}Shoulder", "Spine1", (4 * x, 8, 0)), (f"{side}Arm", f"{side}Shoulder", (13 * x, 0, 0)),
            (f"{side}ForeArm", f"{side}Arm", (2 * x, -27, 0)), (f"{side}Hand", f"{side}ForeArm", (1 * x, -25, 0)),
            ("End", f"{side}Hand", (0, -10, 0)),
            (f"{side}UpLeg", "Hips", (9 * x, -3, 0)), (f"{side}Leg", f"{side}UpLeg", (0, -43, 0)),
            (f"{side}Foot", f"{side}Leg", (0, -42, 0)), (f"{side}ToeBase", f"{side}Foot", (0, -6, 12)),
            ("End", f"{side}ToeBase", (0, 0, 6)),
        ]  # fmt: skip
    return joints


def text(motion: dict[str, np.ndarray], frames: int, step: float = 1 / 30, prefix: str = "mixamorig:") -> str:
    """`motion`: joint -> (T, 3) angles in degrees about z, x, y, or "Hips" -> (T, 6) with the position first."""
    joints, lines, columns = hierarchy(), ["HIERARCHY"], []

    def write_joint(number: int, depth: int) -> None:
        name, parent, offset = joints[number]
        pad = "\t" * depth
        lines.append(pad + ("End Site" if name == "End" else f"{'JOINT' if parent else 'ROOT'} {prefix}{name}"))
        lines.append(pad + "{")
        lines.append(f"{pad}\tOFFSET {' '.join(f'{v:.6f}' for v in offset)}")
        if name != "End":
            turns = "Zrotation Xrotation Yrotation"
            lines.append(pad + (f"\tCHANNELS 3 {turns}" if parent else f"\tCHANNELS 6 Xposition Yposition Zposition {turns}"))
            columns.append(motion.get(name, np.zeros((frames, 3 if parent else 6))))
            for child, (_, above, _) in enumerate(joints):
                if above == name:
                    write_joint(child, depth + 1)
        lines.append(pad + "}")

    write_joint(0, 0)
    lines += ["MOTION", f"Frames: {frames}", f"Frame Time: {step:.7f}"]
    lines += [" ".join(f"{v:.5f}" for v in row) for row in np.concatenate(columns, axis=1)]
    return "\n".join(lines) + "\n"


def performance(frames: int, action: int, random: np.random.Generator) -> dict[str, np.ndarray]:
    time = np.arange(frames) / 30 + random.uniform(0, 1)
    hips = np.zeros((frames, 6))
    hips[:, :3] = (random.normal(0, 20), 95, random.normal(0, 20))
    hips[:, 5] = random.uniform(-60, 60)
    swing = np.zeros((frames, 3))
    swing[:, action % 3] = 50 * np.sin(2 * np.pi * (0.4 + 0.2 * action) * time)
    return {"Hips": hips, "RightArm": swing, "LeftForeArm": swing / 2}


def write(folder: Path, clips: int = 12, seed: int = 0) -> Path:
    random = np.random.default_rng(seed)
    for clip in range(clips):
        action, turn = clip % 3, clip // 3
        frames = int(random.integers(20, 60))
        path = folder / ("wave", "bow", "turn")[action] / f"s{turn % 4 + 1}_t{turn // 4 + 1}.bvh"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text(performance(frames, action, random), frames))
    return folder
