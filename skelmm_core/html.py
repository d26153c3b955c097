"""Self-contained pages of HTML: one style for light and dark, escaped text, tables, and figures inside the page. Nothing is loaded from
elsewhere."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable
from html import escape
from pathlib import Path
from typing import Any

from skelmm_core.files import named, replacing

# What begins a tag, and what makes words an image, a link or the target of one; never in what the notebooks themselves say.
_ACTIVE = re.compile(r"<(?=[a-z/!?])|\](?=[(\[:])", re.IGNORECASE)
APART = "\u2060"  # a word joiner: nobody sees it, and no letter follows the "<" before it

STYLE = """
:root { color-scheme: light dark; --line: #8884; --soft: #8882; --warn: #d55e00 }
body { font: 16px/1.55 system-ui, -apple-system, "Segoe UI", sans-serif; max-width: 62rem; margin: 2.5rem auto; padding: 0 1.25rem }
h1, h2, summary, figcaption { overflow-wrap: anywhere }
h1 { font-size: 1.7rem; line-height: 1.2 } 
h2 { font-size: 1.25rem; margin-top: 2.5rem; border-top: 1px solid var(--line); padding-top: 1.2rem }
p, li { max-width: 46rem }
table { border-collapse: collapse; margin: 1rem 0; font-variant-numeric: tabular-nums }
th, td { padding: .3rem .9rem .3rem 0; text-align: left; border-bottom: 1px solid var(--line); vertical-align: top }
td.number, th.number { text-align: right; white-space: nowrap } tbody th { font-weight: 600 }
tr.yardstick td { opacity: .65; font-style: italic }
tr.first > * { border-top: 2px solid var(--line) }
figure { margin: 1.5rem 0 } img { max-width: 100%; height: auto; background: #fff; border-radius: 4px }
figcaption { opacity: .75; font-size: .9rem }
.signs { border-left: 4px solid var(--warn); padding: .1rem 1rem; background: var(--soft) }
.note { border-left: 4px solid var(--line); padding: .1rem 1rem }
pre { overflow-x: auto; font-size: .8rem; line-height: 1.4; background: var(--soft); padding: .8rem; border-radius: 4px }
summary { cursor: pointer }
"""


HEAD = '<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>'


def page(title: str, parts: Iterable[str]) -> str:
    """A whole page; `title` is text, `parts` are HTML."""
    return "\n".join([
        f"{HEAD}{escape(title)}</title>",
        f"<style>{STYLE}</style></head><body>",
        f"<h1>{escape(title)}</h1>",
        *parts,
        "</body></html>",
        "",
    ])  # fmt: skip


def save(path: str | Path, what: str, title: str, part: str) -> Path:
    """Write a page of one part, which is HTML; makes parent folders and returns the path. what: is saved, in words, for the error.

    Raises `SettingsError` for a path that doesn't end in `.html`, `DataError` for a full or read-only disk; nothing is left half written.
    """
    path = named(path, what, ".html")
    with replacing(path) as file:
        file.write(page(title, [part]).encode())
    return path


def figure(png: bytes, caption: str) -> str:
    """A PNG with a caption, which is text."""
    image, caption = base64.b64encode(png).decode(), escape(caption)
    return f'<figure><img alt="{caption}" src="data:image/png;base64,{image}"><figcaption>{caption}</figcaption></figure>'


def table(head: Iterable[str], rows: Iterable[Iterable[Any]], numbers: tuple[int, ...] = ()) -> str:
    """Rows of values that become `text`; numbers: columns that are set to the right."""

    def line(cells: Iterable[Any], tag: str) -> str:
        return "<tr>" + "".join(f"<{tag}{' class=number' if i in numbers else ''}>{text(c)}</{tag}>" for i, c in enumerate(cells)) + "</tr>"

    return f"<table><thead>{line(head, 'th')}</thead><tbody>{''.join(line(row, 'td') for row in rows)}</tbody></table>"


def folded(title: str, html: str) -> str:
    """HTML that shows when its title, which is text, is clicked."""
    return f"<details><summary>{escape(title)}</summary>{html}</details>"


def inert(markdown: str) -> str:
    """Markdown in which no tag, image or link is left, whatever names of classes and clips it holds: they would be run and fetched where a
    notebook is trusted. Emphasis, code, lists and tables stay; a backslash in front would be seen in code."""
    return _ACTIVE.sub(rf"\g<0>{APART}", markdown)


def text(value: Any) -> str:
    """A value as escaped text: floats with one decimal, None as a dash."""
    return escape("–" if value is None else f"{value:.1f}" if isinstance(value, float) else str(value))
