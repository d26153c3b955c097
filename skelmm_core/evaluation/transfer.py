"""Transfer: encoders of one data set on clips of another, and what the change of skeleton does to them, in plain sentences.

The other clips' joints are mapped to the encoders' skeleton (`skeletons.mapping`: weighted means of joints), then prepared as the encoders'
own clips were: same frames, smoothing, trimming and view. Labels, classes and the train/test split are the other data set's.
"""

from __future__ import annotations

import json

import numpy as np

from skelmm_core import skeletons
from skelmm_core.skeletons import Skeleton


def mapped(source: Skeleton, target: Skeleton) -> list[str]:
    """What happens to joints on the way from the clips' skeleton to the encoders': kept, doubled, made of several, lost.

    Raises `SettingsError` when no map leads from one to the other.
    """
    weights = skeletons.mapping(source, target)  # (V_target, V_source)
    if source.joints == target.joints:
        return [f"joints: the same {len(target)} of '{target.name}'; nothing is mapped or lost"]
    single = (weights > 0).sum(axis=1) == 1
    made = [f"{target.joints[v]} (of {_parts(source, weights[v])})" for v in np.flatnonzero(~single)]
    used = [int(weights[v].argmax()) for v in np.flatnonzero(single)]
    doubled = [source.joints[v] for v in sorted(set(used)) if used.count(v) > 1]
    lost = [source.joints[v] for v in np.flatnonzero((weights != 0).sum(axis=0) == 0)]
    lines = [f"joints: {len(source)} of '{source.name}' mapped to the {len(target)} of '{target.name}', which the encoders know"]
    lines += [f"  stand for several joints, which then move as one: {', '.join(doubled)}"] if doubled else []
    lines += [f"  made of several: {', '.join(made)}"] if made else []
    lines.append(f"  lost: {', '.join(lost) or 'none'}")
    return lines


def spelled(skeleton: Skeleton) -> str:
    """The setting `skeleton` that stands for a skeleton: its name where it is built in, else its table as JSON."""
    return skeleton.name if skeletons.SKELETONS.get(skeleton.name) == skeleton else json.dumps(skeleton.to_dict())


def _parts(source: Skeleton, row: np.ndarray) -> str:
    return " + ".join(f"{row[v]:.2f} {source.joints[v]}" for v in np.flatnonzero(row))
