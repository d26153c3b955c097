"""`skelmm gallery`: the pictures that a README shows, all made from the built-in sample and one run on it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import cast

import numpy as np

from skelmm_core import drawing
from skelmm_core.drawing.moving import save_moving
from skelmm_core.evaluation import metrics, tsne
from skelmm_core.evaluation.features import joined
from skelmm_core.evaluation.whitening import for_neighbours
from skelmm_core.experiment import SAMPLE, Experiment, Trained
from skelmm_core.parameters import overrides
from skelmm_core.side_by_side import command
from skelmm_core.stages.contrast import Contrast

MOVES, TWO, FRONT = "star jumps", "shake hands", 2  # classes that are shown, and the camera that stands in front
SECONDS = 2.4  # of the moving picture
POINTS = 600  # most test clips in a map
CHROMIUM = ("chromium", "chromium-browser", "google-chrome")
PLAYER, MAP, PAGE = (1100, 840), (1100, 1480), (1100, 1250)  # pixels of a page's picture
FRAME = 28  # of the clips beside the linked map
FIND = """<script>
const root = document.querySelector("[data-skelmm-map]").shadowRoot, box = root.querySelector("[type=search]");
box.value = {name};
box.dispatchEvent(new KeyboardEvent("keydown", {{ key: "Enter" }}));
const player = [...root.querySelectorAll("div")].find((part) => part.shadowRoot).shadowRoot, clock = player.querySelector("[type=range]");
clock.value = {frame};
clock.dispatchEvent(new Event("input"));
</script>"""  # as a reader does for a clip


def gallery(
    out: str | Path = "outputs/gallery",
    run: str | Path = "outputs/run",
    preset: str = "quick",
    device: str = "auto",
    smoke: bool = False,
    given: Sequence[str] = (),
    say: Callable[[str], None] = lambda line: print(line, file=sys.stderr, flush=True),
) -> list[Path]:
    """Make all pictures and give their paths.

    The stages of `run` are taken as they are, or trained there first, as notebooks 02 and 03 do; given: settings other than the preset's,
    such as ``"epochs=8"``. The pictures of a player, a linked map and a report are left out, with a word, where no Chromium is on the PATH.

    Raises `SettingsError` as `Experiment` does, `DataError` for a full or read-only disk.
    """
    out = Path(out)
    exp = Experiment(SAMPLE, run, preset, device, smoke, **overrides(given))
    made = _clips(exp, out)
    say(f"{len(made)} pictures of clips; now stages 1 and 2, found in {exp.out} or trained there")
    teacher = exp.exchange()
    made += _trained(exp, teacher, out)
    pages = _pages(exp, teacher, out, device)
    if not pages:
        say(f"no pictures of player, linked map and report: no Chromium is on the PATH ({', '.join(CHROMIUM)})")
    return made + pages


def _clips(exp: Experiment, out: Path) -> list[Path]:
    clips = exp.clips
    skeleton, rate = clips.skeleton, clips.frame_rate
    moving, two = (_first(exp, name) for name in (MOVES, TWO))
    joints = clips[moving].joints[:, : round(SECONDS * rate)]
    strip = drawing.film_strip(clips[two], skeleton, 6, frame_rate=rate, title=f"{TWO} (generated motion)")
    six = drawing.modality_strip(clips[0], skeleton, 6, frame_rate=rate, title=f"{clips.class_names[clips.labels[0]]} (generated motion)")
    return [
        save_moving(
            out / "moving.gif",
            joints,
            skeleton,
            frame_rate=rate,
            title=f"{MOVES} (generated motion)",
            turn=-15,
            most=8 if exp.smoke else 24,
        ),
        drawing.save(strip, out / "film_strip.png"),
        drawing.save(six, out / "modality_strip.png"),
    ]


def _first(exp: Experiment, name: str) -> int:
    """Number of the first clip of a class that the camera in front filmed."""
    clips = exp.clips
    return int(np.flatnonzero((clips.labels == clips.class_names.index(name)) & (clips.views == FRONT))[0])


def _trained(exp: Experiment, teacher: Trained, out: Path) -> list[Path]:
    s, names = exp.settings, exp.clips.class_names
    trained = exp.features(cast(Contrast, teacher.model).query)
    near, untrained = (for_neighbours(*pair, s)[1] for pair in (trained, exp.features(exp.untrained())))
    chosen = metrics.sample(len(exp.test), s.seed, most=POINTS)
    places = {
        "untrained encoders": tsne.tsne_map(joined(untrained)[chosen], s.seed),
        f"teacher, {s.epochs} epochs, {s.hidden} channels": tsne.tsne_map(joined(near)[chosen], s.seed),
    }
    labels = exp.clips.labels[exp.test.index.cpu().numpy()[chosen]]
    title = f"t-SNE of {len(chosen)} test clips by class (generated motion)"
    curves = drawing.training_curves(
        teacher.rows,
        title=f"stage 2 of {len(s.names)} modalities on generated motion, {s.epochs} epochs, {s.hidden} channels",
    )
    found = exp.score(trained).linear
    confused = drawing.confusion_matrix(
        found.confusion, names, title=f"teacher, linear probe: {found.accuracy:.1f} % of {len(exp.test)} test clips (generated motion)"
    )
    return [
        drawing.save(drawing.map_panels(places, {"class": labels}, names, title=title), out / "map.png"),
        drawing.save(curves, out / "training_curves.png"),
        drawing.save(confused, out / "confusion.png"),
    ]


def _pages(exp: Experiment, teacher: Trained, out: Path, device: str) -> list[Path]:
    """A player, a linked map with one of its clips chosen, and the top of the page that `skelmm report` makes of the run, as a browser
    shows them; none where there is none."""
    browser = next((found for name in CHROMIUM if (found := shutil.which(name))), None)
    if browser is None:
        return []
    with tempfile.TemporaryDirectory() as folder:
        player, linked, page = (Path(folder) / f"{name}.html" for name in ("player", "linked", "report"))
        drawing.Player((exp.clips, _first(exp, MOVES)), modality="all", span=(0.6, SECONDS)).save(player)
        _linked(exp, teacher, linked)
        command.report([exp.out], page, device, say=lambda _: None)
        shots = [_shot(browser, made, size, out) for made, size in ((player, PLAYER), (linked, MAP), (page, PAGE))]
    return [shot for shot in shots if shot]


def _linked(exp: Experiment, teacher: Trained, path: Path) -> None:
    """The page of a linked map in which the first clip of `MOVES` that it holds plays beside its neighbours."""
    chosen = metrics.sample(len(exp.test), exp.settings.seed, most=POINTS)
    index = exp.test.index.cpu().numpy()[chosen]
    features = joined(for_neighbours(*exp.features(cast(Contrast, teacher.model).query), exp.settings)[1])[chosen]
    near = tsne.neighbours(features, groups=tsne.performances(exp.clips, index))
    front = drawing.linked_map(
        {"teacher": tsne.tsne_map(features, exp.settings.seed)}, {"class": exp.clips.labels[index], "subject": exp.clips.subjects[index]},
        (exp.clips, index), near, title="Test clips (generated motion)", nearest_in="the teacher's features, other performances only",
    )  # fmt: skip
    held = [int(point) for point in front.data["stored"]]
    wanted = exp.clips.class_names.index(MOVES)
    point = next((p for p in held if exp.clips.labels[index[p]] == wanted), held[0])
    front.save(path)
    path.write_text(path.read_text("utf-8") + FIND.format(name=json.dumps(front.names[point]), frame=FRAME), "utf-8")


def _shot(browser: str, page: Path, size: tuple[int, int], out: Path) -> Path | None:
    """A picture, of a page's name, of what a browser shows of it in a window of that size."""
    shot = page.with_suffix(".png")
    options = ["--headless", "--hide-scrollbars", "--disable-gpu", f"--user-data-dir={page.parent}/profile"]
    options += [f"--window-size={size[0]},{size[1]}", f"--screenshot={shot}", "--virtual-time-budget=3000"]
    options += ["--no-sandbox"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []
    subprocess.run([browser, *options, page.as_uri()], capture_output=True, timeout=120, check=False)
    return Path(shutil.copy(shot, out / shot.name)) if shot.exists() else None
