"""The command line, called in the process of the tests."""

from __future__ import annotations

import pytest

from skelmm_core import cli


def call(capsys, *arguments: object) -> str:
    """What a command printed."""
    cli.main([str(a) for a in arguments])
    return capsys.readouterr().out


def refused(capsys, *arguments: object) -> str:
    """What a command that is refused printed on stderr."""
    with pytest.raises(SystemExit) as stop:
        cli.main([str(a) for a in arguments])
    assert stop.value.code == 2
    return capsys.readouterr().err
