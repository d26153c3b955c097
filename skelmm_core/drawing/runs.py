"""Runs to choose from in a notebook: a list, a button, and the way to the page that `skelmm report` writes of those that were chosen.

Not among the names of `drawing`: `side_by_side`, whose page this shows, draws with it.
"""

from __future__ import annotations

import os
import re
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import quote

import ipywidgets as widgets

from skelmm_core import settings
from skelmm_core.errors import SkelmmError
from skelmm_core.side_by_side import command
from skelmm_core.side_by_side.load import ROLES, find, names_of

ASKED = "Choose a run, or several (Shift or Ctrl and click), then compare."
LONGEST = 80  # letters of the names in a page's file name


def runs_in(folder: str | Path) -> list[tuple[str, Path]]:
    """(words, folder) of the runs in a folder that hold a stage, the one begun last first; what can't be read is left out."""
    found = []
    for run in sorted({stages.parent for pattern in ("stages", "*/stages", "*/*/stages") for stages in Path(folder).glob(pattern)}):
        try:
            _, told, _ = find(run)
        except SkelmmError:
            continue
        name = run.resolve().name if run == Path(folder) else run.relative_to(folder).as_posix()
        data = Path(told["path"]).name if told["path"] != "sample" else "built-in sample"
        recipe = told["preset"] + (", toy size" if told["smoke"] else "") + f", seed {told['settings'].get('seed', 0)}"
        found.append((told["written"], f"{name}: {ROLES[told['stage']]}, {recipe}, {data}, {told['written'][:10]}", run))
    return [(words, run) for _, words, run in sorted(found, key=lambda one: one[0], reverse=True)]


def served(path: str | Path) -> str | None:
    """Address of a file for the browser: the server that started this kernel hands it out as it is, not as a document of JupyterLab's,
    which runs no script in it until it is trusted. None where no server did, or where the file lies outside of its folder."""
    try:
        from jupyter_server.serverapp import list_running_servers
    except ImportError:
        return None
    parent, path = os.environ.get("JPY_PARENT_PID"), Path(path).resolve()
    for server in list_running_servers():
        root = Path(server["root_dir"]).resolve()
        if str(server["pid"]) == parent and path.is_relative_to(root):
            return f"{server['base_url']}files/{quote(path.relative_to(root).as_posix())}"
    return None


class Chooser(widgets.VBox):
    """A list of the runs in `folder` and a button; the page of those chosen goes beside them, as ``comparison-NAMES.html``.

    Attributes: runs (`SelectMultiple`), button, status (`HTML`) and answer (`Output`: the main table, and a link to the page).
    """

    def __init__(self, folder: str | Path = "outputs", device: str = "auto"):
        self.folder, self.device = Path(folder), device
        found = runs_in(folder)
        self.runs = widgets.SelectMultiple(options=found, rows=min(max(len(found), 2), 10), layout=widgets.Layout(width="100%"))
        self.button = widgets.Button(description="compare", icon="columns", disabled=not found, tooltip="scores the runs and writes a page")
        self.button.on_click(self._written)
        self.status, self.answer = widgets.HTML(), widgets.Output()
        self._told(ASKED if found else f"No run with a stage lies in '{folder}' yet.")
        super().__init__([self.runs, self.button, self.status, self.answer])

    def _repr_mimebundle_(self, **given: Any) -> Any:
        """What a saved notebook says where no kernel runs is a sentence, not the widget's code."""
        shown = super()._repr_mimebundle_(**given)
        return shown if shown is None else shown | {"text/plain": "A list of runs to compare, which needs a kernel that runs."}

    def _told(self, text: str) -> None:
        self.status.value = f'<div role="status" style="line-height: 1.5; white-space: normal">{escape(text)}</div>'

    def _written(self, _: Any = None) -> None:
        chosen: list[Path] = list(self.runs.value)
        self.runs.options = runs_in(self.folder)  # training may have gone on
        self.runs.value = tuple(run for _, run in self.runs.options if run in chosen)
        if not chosen:
            return self._told(ASKED)
        names = "-".join(names_of(chosen))
        name = re.sub(r"[^A-Za-z0-9._]+", "-", names)
        name = name if len(name) <= LONGEST else f"{name[:LONGEST]}-{settings.digest(names)}"
        path = self.folder / f"comparison-{name}.html"
        self.button.disabled, self.answer.outputs = True, ()
        self._told("loading …")
        try:
            table = command.report(chosen, path, self.device, say=self._told).rpartition("\n")[0]
        except SkelmmError as problem:
            return self._told(str(problem))
        finally:
            self.button.disabled = False
        self._told("Written.")
        link = Path(os.path.relpath(path)).as_posix()  # as a notebook in this folder names it
        page = f'<a href="{escape(served(path) or quote(link))}" target="_blank">{escape(link)}</a>: the whole comparison'
        shown = {
            "text/html": f'<pre style="white-space: pre; overflow-x: auto">{escape(table)}</pre>{page}',
            "text/plain": f"{table}\n{path}",
        }
        self.answer.outputs = ({"output_type": "display_data", "data": shown, "metadata": {}},)
