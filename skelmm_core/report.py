"""One self-contained HTML page about a run: figures of merit first, signs of failure, every figure, and how it was made.

Everything that comes from files is escaped; figures are embedded; nothing is loaded from elsewhere.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from html import escape
from pathlib import Path
from typing import Any, cast
from urllib.parse import quote

from skelmm_core import html
from skelmm_core.errors import DataError
from skelmm_core.files import replacing

# NTU RGB+D 60, linear evaluation, top-1 % (cross-subject, cross-view), and where each was read.
REFERENCES = (
    ("IKEM, as reported (its teacher or its student: not said)", "80.7", "86.0", "abstract of arXiv 2309.12009"),
    ("3s-AimCLR", "78.9", "83.8", "README of AimCLR"),
    ("3s-CrosSCLR", "77.8", "83.4", "README of CrosSCLR"),
    ("SkeletonCLR, joint", "68.3", "76.4", "README of CrosSCLR"),
)
SIGNS = 3  # of failure, that are in sight of each notebook
# in the names of figures that others are held against
YARDSTICKS = ("untrained", "raw 1-NN", "raw coordinates", "no teacher", "most frequent class")


def build(out: str | Path) -> Path:
    """Write ``<out>/report.html`` from every ``<out>/NN_name/metrics.json``, the figures beside it, and ``manifest.json`` if there is one.

    Raises `DataError` when no notebook has left metrics, or a file of them can't be read.
    """
    out = Path(out)
    found = {path.parent.name: _json(path) for path in sorted(out.glob("[0-9]*/metrics.json"))}
    if not found:
        raise DataError(f"no notebook has left a metrics.json in '{out}'; run some with `skelmm run --out {out}`")
    manifest = _json(out / "manifest.json") if (out / "manifest.json").is_file() else {}
    path = out / "report.html"
    with replacing(path) as file:
        file.write(page(out, found, manifest).encode())
    return path


def page(out: Path, found: Mapping[str, Mapping[str, Any]], manifest: Mapping[str, Any]) -> str:
    title = f"skelmm: {out.resolve().name}"
    parts = [
        *_data(found),
        *_signs(found, manifest),
        "<h2>Figures of merit</h2>",
        "<p>Accuracies are percent of the test clips. In italics: what the others are held against.</p>",
        _headlines(found, manifest),
        "<h2>For orientation: what others report</h2>",
        "<p>Linear evaluation on NTU RGB+D 60, top-1 %. Only a run on that data set with the same protocol can be held against these.</p>",
        html.table(("method", "cross-subject", "cross-view", "read in"), REFERENCES, numbers=(1, 2)),
    ]
    for name, metrics in found.items():
        parts += _notebook(out, name, metrics)
    if manifest:
        parts += ["<h2>How this was made</h2>", *_provenance(manifest)]
    return html.page(title, parts)


def _data(found: Mapping[str, Mapping[str, Any]]) -> Iterable[str]:
    runs = [{k: v for k, v in m.get("run", {}).items() if k != "manifest"} for m in found.values()]  # each notebook has one of its own
    for run in {json.dumps(run, sort_keys=True): run for run in runs}.values():
        data = run.get("data", {})
        yield (
            f"<p>{html.text(data.get('title'))}: {html.text(data.get('clips'))} clips, protocol {html.text(data.get('protocol'))}; "
            f"preset {html.text(run.get('preset'))}, seed {html.text(run.get('seed'))}, {html.text(run.get('device'))}.</p>"
        )
        if data.get("generated"):
            warning = (
                "Generated motion: nobody performed these clips. The figures show that the method runs, not how well it works on people."
            )
            yield f'<p class="note">{warning}</p>'
        if run.get("smoke"):
            yield '<p class="note">A smoke run, at toy size: its figures mean nothing.</p>'


def _signs(found: Mapping[str, Mapping[str, Any]], manifest: Mapping[str, Any]) -> Iterable[str]:
    """Of each notebook the first signs in sight, the others folded."""
    signs = {name: [*m.get("signs_of_failure", ())] for name, m in found.items()}
    for name, entry in manifest.get("notebooks", {}).items():
        if entry.get("status") == "failed":
            signs.setdefault(name, []).insert(0, entry.get("message"))
    signs = {name: listed for name, listed in signs.items() if listed}
    if not signs:
        yield "<p>No sign of failure was found among those looked for.</p>"
        return
    yield '<div class="signs"><p><strong>Signs of failure</strong></p>'
    for name, listed in signs.items():
        items = [f"<li>{html.text(sign)}</li>" for sign in listed]
        more = html.folded(f"{len(items) - SIGNS} more", f"<ul>{''.join(items[SIGNS:])}</ul>") if len(items) > SIGNS else ""
        yield f"<p>{escape(name)}</p><ul>{''.join(items[:SIGNS])}</ul>{more}"
    yield "</div>"


def _headlines(found: Mapping[str, Mapping[str, Any]], manifest: Mapping[str, Any]) -> str:
    rows = []
    for name, metrics in found.items():
        seconds = manifest.get("notebooks", {}).get(name, {}).get("seconds", metrics.get("notebook_seconds"))
        for i, (label, value) in enumerate(metrics.get("headline", {}).items()):
            start = f'<a href="#{quote(name)}">{escape(name)}</a>' if not i else ""
            line = f"<th>{start}</th><td>{escape(label)}</td><td class=number>{html.text(value)}</td>"
            line += f"<td class=number>{html.text(seconds) if not i else ''}</td>"
            kinds = ["first"] * (not i) + ["yardstick"] * any(word in label for word in YARDSTICKS)
            rows.append(f'<tr class="{" ".join(kinds)}">{line}</tr>')
    head = '<tr><th>notebook</th><th>figure</th><th class="number">value</th><th class="number">seconds</th></tr>'
    return f'<div style="overflow-x: auto"><table><thead>{head}</thead><tbody>{"".join(rows)}</tbody></table></div>'


def _notebook(out: Path, name: str, metrics: Mapping[str, Any]) -> Iterable[str]:
    yield f'<h2 id="{escape(name)}">{escape(name)}</h2>'
    made = (metrics.get("run") or {}).get("manifest")
    if made:
        yield f"<p>Manifest {html.text(made)}</p>"
    executed = next((f"{name}{end}.ipynb" for end in ("", ".failed") if (out / f"{name}{end}.ipynb").is_file()), None)
    if executed:
        yield f'<p>The executed notebook, with its prose and interactive figures: <a href="{quote(executed)}">{escape(executed)}</a></p>'
    for path in sorted((out / name / "figures").glob("*.png")):
        yield html.figure(path.read_bytes(), path.stem.replace("_", " "))
    yield html.folded("all numbers", f"<pre>{escape(json.dumps(metrics, indent=1, ensure_ascii=False))}</pre>")


def _provenance(manifest: Mapping[str, Any]) -> Iterable[str]:
    git, hardware = manifest.get("git") or {}, manifest.get("hardware") or {}
    state = {True: ", nothing changed", False: ", with uncommitted changes"}.get(cast(bool, git.get("clean")), "")
    rows = [
        ("manifest", manifest.get("id")),
        ("command", manifest.get("command")),
        ("commit", f"{git['commit']}{state}" if git.get("commit") else "not in a repository"),
        ("written", manifest.get("written")),
        ("data (sha256)", manifest.get("data", {}).get("content")),
        ("versions", ", ".join(f"{k} {v}" for k, v in (manifest.get("versions") or {}).items())),
        ("machine", ", ".join(f"{k} {v}" for k, v in hardware.items() if v)),
    ]
    yield html.table(("what", "value"), rows)
    yield html.folded("manifest.json", f"<pre>{escape(json.dumps(manifest, indent=1, ensure_ascii=False))}</pre>")


def _json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as problem:
        raise DataError(f"can't read '{path}': {problem}; run its notebook again") from problem
    if not isinstance(content, dict):
        raise DataError(
            f"'{path}' holds {type(content).__name__}, expected an object with headline and signs_of_failure; run its notebook again"
        )
    return content
