"""What the numbered notebooks share: where results go, how they are shown, what is written down.

A notebook holds prose, formulas and calls; this file keeps the plumbing out of its sight. `start` gives a `Session`, whose
`exp` does the work, and whose `finish` writes ``metrics.json`` beside the figures.
"""

from __future__ import annotations

import dataclasses
import json
import math
import os
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import plotly.graph_objects as go
from IPython.display import Markdown, display
from matplotlib.figure import Figure
from torch import Tensor

from skelmm_core import drawing, html, manifest, watching
from skelmm_core.clips import Clips
from skelmm_core.drawing.palette import label
from skelmm_core.drawing.runs import Chooser, runs_in
from skelmm_core.errors import DataError, SettingsError
from skelmm_core.evaluation.diagnosis import difference_error
from skelmm_core.evaluation.features import embeddings
from skelmm_core.evaluation.metrics import binomial_error
from skelmm_core.experiment import SAMPLE, Experiment
from skelmm_core.files import replacing
from skelmm_core.parameters import STAGES

__all__ = [
    "Session",
    "accuracy",
    "compare",
    "embeddings",
    "interactive",
    "join",
    "label",
    "plain",
    "prepared",
    "start",
    "table",
]

RESPONSIVE = {"responsive": True}  # plotly: as wide as the page
RENDERER = "plotly_mimetype+notebook_connected"  # shows in JupyterLab and in exported HTML, and puts no plotly.js into the file


def start(notebook: str, parameters: Mapping[str, Any]) -> Session:
    """Open the experiment that a notebook's parameters describe, and say at the top what it runs on.

    Args:
        notebook: the notebook's file name without its ending, e.g. ``"03_ikem"``.
        parameters: what the parameters cell holds: data, out, preset, device, smoke, and settings by their own names (None: as the
            preset says). Relative `data`, `out` and a `skeleton` of your own start from the repository, wherever
            the notebook's kernel runs.

    Raises `SettingsError` for an unknown parameter, `DataError` or `ProtocolError` for data or a split that can't be used.
    """
    given = dict(parameters)
    base = repository(notebook)
    out = base / Path(given.pop("out")).expanduser()
    data = given.pop("data")
    data = data if data == SAMPLE else str(base / Path(data).expanduser())
    if str(given.get("skeleton") or "").lower().endswith(".toml"):
        given["skeleton"] = str(base / Path(given["skeleton"]).expanduser())
    exp = Experiment(data=data, out=out, **given)
    exp.check(STAGES.get(notebook[:2], "pretrain"))
    session = Session(notebook, exp)
    session.say(session.opening())
    return session


def prepared(notebook: str, source: str, source_format: str, data: str, out: str, options: str = "") -> str:
    """The clips file to work on: `data`, or, if `source` names raw files, the one that `prepared.clips_file` makes of them.

    options: of the format's reader, as "units=cm, up=z". Relative paths start from the repository, as in `start`.
    """
    from skelmm_core.prepared import clips_file, reader_options

    if not source:
        return data
    if data != SAMPLE:
        raise SettingsError(f"both source='{source}' and data='{data}' are given; name raw files by source or a clips file by data")
    base = repository(notebook)
    raw = source if source == SAMPLE else base / Path(source).expanduser()
    return str(clips_file(raw, source_format, base / Path(out).expanduser(), reader_options(options, base)))


def some_protocol(notebook: str, data: str, protocol: str | None) -> str | None:
    """`protocol`; or, for a clips file that names none of its own, the first of the usual ones that fits, which the reader is told."""
    from skelmm_core import protocols
    from skelmm_core.clips import open_clips
    from skelmm_core.errors import ProtocolError

    if protocol or data == SAMPLE:
        return protocol
    clips = open_clips(repository(notebook) / Path(data).expanduser())
    if clips.protocol:
        return protocol
    for name in protocols.usual(clips):
        try:
            return protocols.split(clips, name).name
        except ProtocolError:
            continue
    return protocol


def repository(notebook: str) -> Path:
    """The folder that relative paths start from: the nearest from the working folder up that holds ``notebooks/<notebook>.ipynb``,
    else the one that this package was installed from, else the working folder."""
    here = Path.cwd()
    for folder in (here, *here.parents, Path(__file__).resolve().parents[1]):
        if (folder / "notebooks" / f"{notebook}.ipynb").is_file():
            return folder
    return here


def interactive() -> bool:
    """Whether somebody may be looking on: a kernel that a Jupyter server or an editor started, not papermill."""
    return "JPY_SESSION_NAME" in os.environ or "VSCODE_PID" in os.environ


class Session:
    """One run of one notebook. `exp`: the experiment; `folder`: where its ``metrics.json`` and ``figures/`` go."""

    def __init__(self, notebook: str, exp: Experiment):
        self.notebook, self.exp = notebook, exp
        self.folder = exp.out / notebook
        self.began = time.perf_counter()

    @property
    def facts(self) -> dict[str, Any]:
        """What decides the results, for ``manifest.json`` beside ``metrics.json``."""
        return {"notebook": self.notebook, **self.exp.facts()}

    @property
    def clips(self) -> int:
        """Number of test clips behind every accuracy."""
        return len(self.exp.split.test)

    def run(self) -> dict[str, Any]:
        """What this run is, for ``metrics.json``."""
        exp, clips, split = self.exp, self.exp.clips, self.exp.split
        return {
            "preset": exp.preset, "seed": exp.settings.seed, "device": str(exp.fabric.device), "smoke": exp.smoke,
            "precision": exp.settings.precision, "manifest": manifest.identifier(self.facts),
            "data": {
                "title": clips.title, "content": clips.content, "clips": len(clips), "train": len(split.train), "test": len(split.test),
                "protocol": split.name, "generated": clips.generated,
            },
        }  # fmt: skip

    def opening(self) -> str:
        run, clips = self.run(), self.exp.clips
        data = run["data"]
        lines = []
        if data["generated"]:
            lines.append(
                "> **This run uses generated motion.** Nobody performed these clips: they show that the method works from end to end, "
                "and they say nothing about how well it recognises real motion."
            )
        if run["smoke"]:
            lines.append("> **Smoke run.** Sizes are cut down to see that everything runs; no accuracy below means anything.")
        lines.append(
            f"**Data**: {clips.title}, {data['clips']} clips of {len(clips.class_names)} classes, skeleton {clips.skeleton.name}. "
            f"**Protocol** {data['protocol']}: {data['train']} clips train, {data['test']} test.  \n"
            f"**Run**: preset {run['preset']}, seed {run['seed']}, {run['device']}, precision {run['precision']}; "
            f"manifest {run['manifest']}; results go to `{self.folder}`."
        )
        return "\n\n".join(lines)

    def say(self, text: str) -> None:
        """Show Markdown: the sentences whose numbers come from the run. Tags, images and links in it are shown as text (`html.inert`)."""
        display(Markdown(html.inert(text)))

    def table(self, rows: Iterable[Mapping[str, Any]], digits: int = 1) -> None:
        """Show rows, column -> value, as a table; floats with so many digits, None and NaN as a dash."""
        self.say(table(rows, digits))

    def figure(self, figure: Figure, name: str) -> Figure:
        """Save a matplotlib figure as ``figures/<name>.png`` and show it."""
        drawing.save(figure, self.folder / "figures" / f"{name}.png")
        display(figure)
        return figure

    def training(self, every: int = watching.EVERY) -> AbstractContextManager[Any]:
        """A block in which stages are watched (`watching.Watch`): by curves with a button where somebody looks on, else by a line per look.

        every: epochs between two looks; 0: none.
        """
        return drawing.live(self.exp, every) if every and interactive() else watching.watched(self.exp, every)

    def lines(self) -> AbstractContextManager[Any]:
        """A block of long work: what it writes to stderr is shown in one place where somebody looks on, else it is written as it comes."""
        return drawing.lines() if interactive() else nullcontext()

    def live(self, figure: Any, name: str) -> None:
        """Show a plotly figure that stays alive in the saved notebook, and save it as the page ``<name>.html``, which needs no network.

        The notebook holds no plotly.js (4.7 MB): JupyterLab has its own, and the HTML that nbconvert makes loads it.
        """
        title = figure.layout.title.text or name
        untitled = go.Figure(figure).update_layout(title_text="", margin_t=10)  # the page has it as its heading
        part = untitled.to_html(full_html=False, include_plotlyjs=True, config=RESPONSIVE)
        path = html.save(self.folder / f"{name}.html", "a figure", title, part)
        figure.show(renderer=RENDERER, config=RESPONSIVE)
        self.say(f"The same as a page by itself, which needs no network: `{path}`.")

    def explore(self, clips: Clips, **options: Any) -> None:
        """`drawing.explore` where somebody looks on; else the player without its dropdowns, which a saved notebook would not hold."""
        front = drawing.explore(clips, **options)
        display(front if interactive() else front.player)

    def browse(self, clips: Clips) -> None:
        """List the clips of a file; a packed part of them plays, and all where somebody looks on beside a live kernel."""
        front = drawing.browse(clips)
        display(front)
        if interactive():
            display(front.with_kernel())

    def choose(self) -> None:
        """A list of the runs beside this one, to be compared, where somebody looks on; else the command that compares them."""
        folder = self.exp.out.parent
        if interactive():
            display(Chooser(folder, str(self.exp.fabric.device)))
            return
        found = "\n".join(f"- {words}" for words, _ in runs_in(folder))
        self.say(f"In JupyterLab a list to choose from stands here. Runs in `{folder}`:\n\n{found}\n\n`skelmm report RUN…` compares them.")

    def linked(self, linked: drawing.LinkedMap, name: str) -> None:
        """Save a linked map as the page ``<name>.html`` and show it, with all of its clips where somebody looks on beside a live kernel.

        What does not fit into a notebook is left out of what is shown, not of the page, and said.
        """
        path = linked.save(self.folder / f"{name}.html")
        try:
            left = linked.left_out
        except DataError as error:  # not even one map fits
            return self.say(f"Not shown: {error}. It is a page by itself: `{path}`.")
        display(linked)
        if interactive():
            display(linked.with_kernel())
        self.say(f"Left out above: {left}. Everything is in the page `{path}`." if left else f"The same as a page by itself: `{path}`.")

    def finish(self, headline: Mapping[str, float | str], signs: Sequence[str], **details: Any) -> Path:
        """Write ``metrics.json``: what ran, the figures that matter most, signs of failure, and `details`; show the first three.

        Accuracies are percent of the test clips. Numbers of NumPy and torch become plain ones, NaN becomes null.
        """
        values = {
            "notebook": self.notebook, "run": self.run(), "headline": headline, "signs_of_failure": list(signs),
            "notebook_seconds": time.perf_counter() - self.began, **details,
        }  # fmt: skip
        if self.exp.by_other_code:
            folders = ", ".join(sorted({f"`{folder.name}`" for folder in self.exp.by_other_code}))
            values["signs_of_failure"].append(
                f"Stages that another version of the code trained, wholly or in part, were found and used: {folders} in "
                f"`{self.exp.out / 'stages'}`. Delete them to train anew."
            )
            signs = values["signs_of_failure"]
        manifest.write(self.folder, self.facts)
        path = self.folder / "metrics.json"
        with replacing(path) as file:
            file.write(json.dumps(plain(values), indent=1, allow_nan=False, ensure_ascii=False).encode())
        self.say(table([{"result": name, "value": value} for name, value in headline.items()]))
        listed = "\n".join(f"- {sign}" for sign in signs)
        self.say(f"**Signs of failure**\n\n{listed}" if signs else "**Signs of failure**: none of those looked for.")
        self.say(f"Written to `{path}` after {values['notebook_seconds']:.0f} s.")
        return path


def table(rows: Iterable[Mapping[str, Any]], digits: int = 1) -> str:
    """Rows, column -> value, as a Markdown table with the columns of the first row; a row may leave columns out."""
    rows = list(rows)
    if not rows:
        raise DataError("a table needs at least one row, found none")
    columns = list(rows[0])
    numeric = [c for c in columns if any(isinstance(row.get(c), (int, float)) for row in rows)]
    rule = ["---:" if c in numeric else ":---" for c in columns]
    body = [[_cell(row.get(c), digits) for c in columns] for row in rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in (columns, rule, *body))


def _cell(value: Any, digits: int) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "–"
    if isinstance(value, float):
        return f"{value:.{digits}f}"
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return str(value).replace("|", "\\|")


def plain(value: Any) -> Any:
    """Plain JSON values of nested results: arrays as lists, named tuples and dataclasses as dicts, NaN and infinity as None."""
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return plain(dataclasses.asdict(value))
    if hasattr(value, "_asdict"):
        return plain(value._asdict())
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    if isinstance(value, (np.ndarray, np.generic, Tensor)):
        return plain(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, Path):
        return str(value)
    raise SettingsError(f"metrics must be plain numbers, strings, lists or dicts, found {type(value).__name__} {value!r}")


def compare(name: str, percent: float, other: str, than: float, clips: int) -> str:
    """Two accuracies on the same number of test clips in one sentence that claims no more than the clips can bear.

    The yardstick is the standard error of the difference of two binomial shares; that of other seeds is not in it.
    """
    gap, error = percent - than, difference_error(percent, than, clips)
    pair = f"{name} {percent:.1f} %, {other} {than:.1f} %"
    standard = f"standard error {error:.1f} points on {clips} test clips"
    if abs(gap) <= error:
        return f"{pair}: the difference of {gap:+.1f} points is within what chance does ({standard}), so none is seen."
    if abs(gap) <= 2 * error:
        return f"{pair}: {gap:+.1f} points, more than the {standard}, less than twice that: a hint, not a proof."
    return f"{pair}: {gap:+.1f} points, {abs(gap) / error:.1f} times the {standard}: more than chance does; other seeds are not in this."


def accuracy(percent: float, clips: int) -> str:
    """``"71.3 ± 2.2 %"``, with the binomial standard error."""
    return f"{percent:.1f} ± {binomial_error(percent, clips):.1f} %"


def join(words: Iterable[str]) -> str:
    """``"a, b and c"``."""
    words = list(words)
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
