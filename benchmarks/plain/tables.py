"""Names in published checkpoints, and the joints of NTU RGB+D as bones, axes and edges."""

from __future__ import annotations

SUFFIX = {  # encoder_q<suffix>, queue<suffix>; the order of all concatenations
    "joint": "",
    "motion": "_motion",
    "bone": "_bone",
    "acceleration": "_acceleration",
    "rotation_axis": "_rotation_axis",
    "angular_velocity": "_omega",
}
LETTER = dict(zip(SUFFIX, "jmbaro", strict=True))  # mlp2<letter>, encoder_student_<letter>
NAMES = tuple(SUFFIX)


def pairs(text: str) -> list[tuple[int, int]]:
    """Pairs of joints counted from 0, from a table that counts from 1."""
    return [(int(a) - 1, int(b) - 1) for a, b in (pair.split("-") for pair in text.split())]


BODY = "1-2 2-21 3-21 4-3 5-21 6-5 7-6 8-7 9-21 10-9 11-10 12-11 13-1 14-13 15-14 16-15 17-1 18-17 19-18 20-19"
BONE = pairs(f"{BODY} 21-21 22-8 23-8 24-12 25-12")
AXIS = pairs(f"{BODY} 21-21 22-8 23-22 24-12 25-24")
EDGES = pairs(f"{BODY} 22-23 23-8 24-25 25-12")
SPINE, LEFT, RIGHT, CENTRE = 1, 4, 8, 20  # joints 2, 5, 9 and 21
