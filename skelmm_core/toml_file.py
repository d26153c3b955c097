"""A small TOML file that its user wrote by hand, read with errors that name it."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from skelmm_core.errors import SkelmmError

LARGEST = 1 << 20  # bytes of a file


def read(path: str | Path, what: str, error: type[SkelmmError], hint: str = "") -> dict[str, Any]:
    """What the file holds. what: it is, for the message; hint: how to get a right one. Raises `error` for a file that can't be read, is
    much larger than a hand writes, is not UTF-8 (a byte order mark is passed over) or no TOML."""
    path = Path(path).expanduser()
    more = f"; {hint}" if hint else ""
    try:
        if path.stat().st_size > LARGEST:
            raise error(f"'{path}' has {path.stat().st_size} bytes; a {what}'s TOML file has a few thousand: is it another file?{more}")
        return tomllib.loads(path.read_bytes().decode("utf-8-sig"))
    except OSError as problem:
        raise error(f"can't read the {what} '{path}': {problem.strerror or problem}{more}") from problem
    except UnicodeDecodeError as problem:
        raise error(f"'{path}' is not UTF-8 text ({problem}); save it as UTF-8") from problem
    except (ValueError, RecursionError) as problem:
        raise error(f"'{path}' is not TOML: {problem}{more}") from problem
