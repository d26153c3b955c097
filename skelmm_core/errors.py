"""One exception class per kind of failure; every message says what was expected, what was found, where, and what to do."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class SkelmmError(Exception):
    """Base of every error that is the input's or the environment's, not a bug: the command line prints it without a traceback."""


class DataError(SkelmmError):
    """A file or array that can't be used as skeleton data."""


class ProtocolError(SkelmmError):
    """A train/test protocol that is unknown, malformed or leaves a split or class empty."""


class SettingsError(SkelmmError):
    """An unknown setting, a wrong type or a value out of range."""


class CheckpointError(SkelmmError):
    """A checkpoint that is missing, torn, or made for other data or settings."""


class BusyError(DataError):
    """A file or folder that another process works on; when that is done, the same works."""


class InterruptedWork(DataError):
    """Something from outside stopped the work; what was done is kept, and the same command goes on from there."""


class TrainingError(SkelmmError):
    """Training can't go on: a loss that is not finite, or a batch that does not fit."""


class NotebookError(SkelmmError):
    """A notebook that is missing, malformed, or stopped with an error."""


def nearest(name: str, options: Iterable[str]) -> str:
    """`"; did you mean 'x'?"` with the most similar option, or a list of all options when none is similar."""
    options = [str(o) for o in options]
    found = difflib.get_close_matches(str(name), options, n=1, cutoff=0.5)
    if found:
        return f"; did you mean '{found[0]}'?"
    return f"; choose from: {', '.join(options)}" if options else ""
