"""The benchmarks run, and the plain ways that they compare with compute the same as ours."""

from __future__ import annotations

import functools
import importlib
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import benchmarks
from benchmarks import MODULES, Row, __main__, card, parsing
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
        monkeypatch.setattr(benchmarks.parsing, "measure", lambda toy, rounds: list(rows))
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


def test_toy_size_promises_nothing_and_writes_nothing(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(__main__, "RESULTS", tmp_path / "none.json")
    monkeypatch.setattr(parsing, "TOY", dict(different=3, files=4, sample=2, rounds=1, mean=8))
    assert __main__.main(["--toy"]) == 0 and not list(tmp_path.iterdir())
    told = capsys.readouterr().out
    assert "NTU .skeleton" in told and "step, stage 3, N=4, one body" in told and "MISSED" not in told


def test_quick_keeps_goals_and_sizes_and_makes_fewer_rounds(monkeypatch, tmp_path, capsys):
    asked = []
    monkeypatch.setattr(__main__, "RESULTS", tmp_path / "benchmarks.json")
    monkeypatch.setattr(parsing, "measure", lambda toy, rounds: asked.append((toy, rounds)) or [row(29, 30)])
    assert __main__.main(["--quick", "parsing"]) == 1 and asked == [(False, __main__.ROUNDS["parsing"])]
    found = json.loads((tmp_path / "quick.json").read_text())
    assert len(found) == 1 and found[0]["goal"] == 30 and not (tmp_path / "benchmarks.json").exists()
    assert "goals missed: a way" in capsys.readouterr().out


def test_quick_leaves_out_what_promises_nothing_unless_it_is_named(monkeypatch, tmp_path, capsys):
    ran = []
    monkeypatch.setattr(__main__, "RESULTS", tmp_path / "benchmarks.json")
    for name, module in MODULES.items():
        measure = functools.partial(lambda name, toy, rounds: ran.append(name) or [], name)
        monkeypatch.setattr(importlib.import_module(module), "measure", measure)
    assert __main__.main(["--quick"]) == 0 and ran == ["inference", "parsing", "probing", "steps"]
    assert "steps: 0 s" in capsys.readouterr().out
    ran.clear()
    assert __main__.main(["--quick", "streaming"]) == 0 and ran == ["streaming"]
    ran.clear()
    assert __main__.main([]) == 0 and ran == list(MODULES)


def test_what_was_measured_is_kept_when_a_later_part_fails(monkeypatch, tmp_path):
    def stopped(toy, rounds):
        raise KeyboardInterrupt

    monkeypatch.setattr(__main__, "RESULTS", tmp_path / "benchmarks.json")
    monkeypatch.setattr(parsing, "measure", lambda toy, rounds: [row(31, 30)])
    monkeypatch.setattr(importlib.import_module("benchmarks.steps"), "measure", stopped)
    with pytest.raises(KeyboardInterrupt):
        __main__.main(["parsing", "steps"])
    assert [r["name"] for r in json.loads((tmp_path / "benchmarks.json").read_text())] == ["a way"]


def test_an_unknown_benchmark_is_named(capsys):
    with pytest.raises(SystemExit):
        __main__.main(["steps", "parsin"])
    assert "unknown benchmark 'parsin'; choose from inference, parsing" in capsys.readouterr().err


SCRIPTS = [
    ["benchmarks/growth.py"],
    ["benchmarks/step_time.py"],
    ["benchmarks/precision.py"],
    ["benchmarks/utd_mhad.py"],
    ["benchmarks/held_out.py"],
]
PARTS = [["-m", f"benchmarks.{name}"] for name in ("formats", "hot_spots", "card", "steps")]


@pytest.mark.parametrize("words", SCRIPTS + PARTS, ids=lambda words: words[-1])
def test_every_command_starts_as_it_is_documented(words):
    """A module of this folder must not hide one of the standard library's, as profile.py did."""
    done = subprocess.run([sys.executable, *words, "--help"], capture_output=True, text=True, timeout=120, cwd=Path(__file__).parents[1])
    assert done.returncode == 0 and "usage" in done.stdout, done.stderr


def test_the_roofline_counts_arithmetic_and_bytes_of_products_and_their_gradients():
    a, b = torch.randn(6, 4), torch.randn(4, 10, requires_grad=True)
    kernel = torch.randn(5, 2, 9, 1, dtype=torch.bfloat16)
    image = torch.randn(3, 2, 7, 8, dtype=torch.bfloat16)
    with card.Products() as products:
        (a @ b).relu().sum().backward()  # forward, and the gradient of b: both 6 x 4 x 10
        torch.conv2d(image, kernel, padding=(4, 0))
    product, gradient, convolution = products.found
    assert product == (2 * 6 * 4 * 10, 4 * (24 + 40 + 60), torch.float32)
    assert gradient == (2 * 6 * 4 * 10, 4 * (24 + 40 + 60), torch.float32)
    assert convolution == (2 * 3 * 5 * 7 * 8 * 2 * 9, 2 * (336 + 90 + 840), torch.bfloat16)


def test_the_roofline_is_the_larger_of_both_times():
    ceilings = {torch.float32: 100.0, torch.bfloat16: 200.0, "copy": 10.0}
    a = torch.ones(1, 50)
    assert card.roofline(lambda: float(a @ a.T), ceilings) == pytest.approx(4 * 101 / 10)  # 404 bytes, 100 operations
    assert card.roofline(lambda: float((a @ a.T).sum()), ceilings | {"copy": 1e9}) == pytest.approx(1)


def test_the_benchmark_of_a_card_runs_at_toy_size_and_refuses_without_one():
    rows = card.measure(toy=True)
    assert len(rows) == 7 and not any(row.missed for row in rows) and all(row.fast_s > 0 for row in rows)
    if not torch.cuda.is_available():
        with pytest.raises(SystemExit, match="no CUDA device"):
            card.measure()
