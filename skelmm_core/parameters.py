"""Parameters of a notebook, read from its parameters cell, and texts such as ``epochs=8`` turned into values of their types.

The cell is parsed, never run. (papermill reads it with a regular expression that overlooks annotations such as `int | None`,
and only warns about a parameter that the notebook does not have.)
"""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from skelmm_core.errors import NotebookError, SettingsError, nearest

TAG = "parameters"
# Number of a notebook -> the last stage that it comes to; "evaluate" trains nothing; others: pretrain.
STAGES = {"00": "evaluate", "01": "evaluate", "03": "exchange", "04": "distill", "05": "distill", "06": "distill"}
TYPES = {"bool": bool, "int": int, "float": float, "str": str}
TRUTH = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


@dataclass(frozen=True)
class Parameter:
    """One line of a parameters cell: ``name: annotation = default  # comment``; what a line lacks is ""."""

    name: str
    annotation: str
    default: Any
    comment: str

    @property
    def kind(self) -> type:
        """bool, int, float or str; str where nothing is annotated."""
        return next((TYPES[word] for word in re.findall(r"\w+", self.annotation) if word in TYPES), str)

    @property
    def optional(self) -> bool:
        return self.default is None or bool({"None", "Optional"} & set(re.findall(r"\w+", self.annotation)))

    def convert(self, value: Any) -> Any:
        """`value`, or the value that a text stands for, in this parameter's type; anything else raises `SettingsError`."""
        kind, text = self.kind, str(value).strip()
        if value is None or text.lower() == "none":
            if self.optional:
                return None
        elif kind is bool:
            if text.lower() in TRUTH:
                return TRUTH[text.lower()]
        elif isinstance(value, str):
            try:
                return kind(value)
            except ValueError:
                pass
        elif type(value) is kind or (kind is float and type(value) is int):
            return kind(cast(Any, value))
        expected = "true or false" if kind is bool else {int: "a whole number", float: "a number", str: "a text"}[kind]
        raise SettingsError(f"parameter '{self.name}' must be {expected}{' or none' if self.optional else ''}, found {value!r}")


def pairs(texts: Iterable[str]) -> dict[str, str]:
    """``["epochs=8", "modalities=joint,bone"]`` as a dict; a text without ``=`` and a name given twice raise `SettingsError`."""
    found: dict[str, str] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        name = name.strip().replace("-", "_")
        if not equals or not name:
            raise SettingsError(f"expected name=value, as in epochs=8, found '{text}'")
        if name in found:
            raise SettingsError(f"parameter '{name}' is given twice: {found[name]!r} and {value!r}")
        found[name] = value
    return found


def overrides(given: Iterable[str]) -> dict[str, Any]:
    """Texts such as ``"epochs=60"`` as settings of an experiment. Raises `SettingsError` for an unknown one or a wrong type."""
    from skelmm_core import settings  # torch by way of it, which reading a notebook's parameters is spared

    kinds = settings.field_types(settings.Distill)
    found = {}
    for name, value in pairs(given).items():
        if name not in kinds:
            raise SettingsError(f"unknown setting '{name}'{nearest(name, kinds)}")
        if name == "seed":
            raise SettingsError("'seed' has an option of its own: use --seeds instead of -p seed=…")
        found[name] = Parameter(name, kinds[name].__name__, None, "").convert(value)
    return found


def of_notebook(path: str | Path) -> dict[str, Parameter]:
    """The parameters of a notebook, by name. Raises `NotebookError` for a file that is no notebook or has not just one parameters cell."""
    import nbformat  # a second by itself, which notebooks that start, and need no more than `STAGES`, are spared

    path = Path(path)
    try:
        notebook = nbformat.read(path, as_version=4)
    except OSError as problem:
        raise NotebookError(f"can't read notebook '{path}': {problem.strerror or problem}") from problem
    except (ValueError, nbformat.reader.NotJSONError, nbformat.ValidationError) as problem:
        raise NotebookError(f"'{path}' is not a notebook ({str(problem).splitlines()[0][:120]})") from problem
    cells = [c.source for c in notebook.cells if c.cell_type == "code" and TAG in c.metadata.get("tags", ())]
    if len(cells) != 1:
        raise NotebookError(f"'{path}' has {len(cells)} code cells with the tag '{TAG}'; expected exactly one")
    try:
        return of_cell(cells[0])
    except (SyntaxError, ValueError) as problem:
        raise NotebookError(
            f"'{path}': the parameters cell can't be understood: {problem}; expected lines like 'epochs: int = 3  # …'"
        ) from problem


def of_cell(source: str) -> dict[str, Parameter]:
    """The parameters of a cell's source; defaults must be literals (else `ValueError`)."""
    comments = {
        t.start[0]: t.string.lstrip("# ") for t in tokenize.generate_tokens(io.StringIO(source).readline) if t.type == tokenize.COMMENT
    }
    found: dict[str, Parameter] = {}
    for node in ast.parse(source).body:
        match node:
            case ast.AnnAssign(target=ast.Name(id=name), annotation=annotation, value=ast.expr() as value):
                annotated = ast.unparse(annotation).strip("'\"")
            case ast.Assign(targets=[ast.Name(id=name)], value=value):
                annotated = ""
            case _:
                continue
        found[name] = Parameter(name, annotated, ast.literal_eval(value), comments.get(node.end_lineno or 0, ""))
    return found


def distribute(given: Mapping[str, Any], notebooks: Mapping[str, Mapping[str, Parameter]]) -> dict[str, dict[str, Any]]:
    """For each notebook the given values that it knows, in its types; a name that none knows raises `SettingsError` with the nearest."""
    known = sorted({name for parameters in notebooks.values() for name in parameters})
    for name in given:
        if name not in known:
            raise SettingsError(f"unknown parameter '{name}' of {', '.join(notebooks)}{nearest(name, known)}")
    return {
        notebook: {name: parameters[name].convert(value) for name, value in given.items() if name in parameters}
        for notebook, parameters in notebooks.items()
    }
