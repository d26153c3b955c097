"""The benchmarks run, and the plain ways that they compare with compute the same as ours."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

import benchmarks
from benchmarks import Row, __main__, parsing
from skelmm_core.sources import ntu


def test_the_plain_parser_reads_the_same(tmp_path):
    for path in parsing.generate(tmp_path / "raw", different=4, files=6, mean=8):
        with open(path, "rb") as file:
            ours = ntu.parse(file.read(), path)  # (M, T, 25, 3)
        plain = parsing.plain(path).transpose(3, 1, 2, 0).astype(np.float32)
        assert np.array_equal(plain[: len(ours)], ours) and not plain[len(ours) :].any()


def test_generated_files_are_as_long_as_real_ones(tmp_path):
    lengths, two = [], 0
    for path in parsing.generate(tmp_path / "raw", different=80, files=80, joints=False):
        head = open(path).read().split()
        lengths.append(int(head[0]))
        two += head[1] == "2"
    assert 75 <= np.mean(lengths) <= 95 and max(lengths) <= 300 and 0.05 <= two / 80 <= 0.3


def row(ratio: float, goal: float | None) -> Row:
    return Row("a way", 2.0, 2.0 / ratio, ratio, goal)


@pytest.fixture
def measured(monkeypatch, tmp_path):
    """Runs the command on rows that are given, and returns its code and what it wrote."""

    def run(*rows: Row, words: tuple[str, ...] = ()):
        monkeypatch.setattr(__main__, "MODULES", {"parsing": "benchmarks.parsing"})
        monkeypatch.setattr(benchmarks.parsing, "measure", lambda quick: list(rows))
        target = tmp_path / "rows.json"
        code = __main__.main([*words, "--results", str(target)])
        return code, json.loads(target.read_text())

    return run


def test_a_goal_that_is_missed_is_an_error(measured, capsys):
    assert measured(row(31, 30))[0] == 0 and measured(row(2, None))[0] == 0
    assert "MISSED" not in capsys.readouterr().out
    assert measured(row(29, 30))[0] == 1 and "MISSED" in capsys.readouterr().out
    late = Row("a map", float("nan"), 2.0, float("nan"), limit=1.9)
    assert measured(late)[0] == 1 and measured(replace(late, limit=2.1))[0] == 0


def test_rows_say_what_was_measured_where(measured):
    _, rows = measured(row(31, 30), Row("another", 1.0, 0.5, 2.0))
    assert [r["name"] for r in rows] == ["a way", "another"] and {"plain_s", "fast_s", "ratio", "goal"} <= rows[0].keys()
    assert rows[0]["hardware"]["cores"] >= 1 and "numpy" in rows[0]["versions"] and rows[0]["command"].startswith("python -m benchmarks")
    _, rows = measured(row(40, 30), words=("parsing",))
    assert [(r["name"], r["ratio"]) for r in rows] == [("another", 2.0), ("a way", 40)]  # of one name the newest, others stay


def test_quick_promises_nothing_and_writes_nothing(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(__main__, "RESULTS", tmp_path / "none.json")
    monkeypatch.setattr(parsing, "QUICK", dict(different=3, files=4, sample=2, rounds=1, mean=8))
    assert __main__.main(["--quick"]) == 0 and not (tmp_path / "none.json").exists()
    told = capsys.readouterr().out
    assert "NTU .skeleton" in told and "step, stage 3, N=4, one body" in told and "MISSED" not in told
