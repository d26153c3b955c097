"""Protocols against hand-made lists and Python's own evaluation, and what they refuse."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skelmm_core import protocols
from skelmm_core.clips import COLUMNS
from skelmm_core.errors import ProtocolError


def table(protocol: str = "", names: tuple[str, ...] = ("wave", "clap"), **columns) -> SimpleNamespace:
    """The part of `Clips` that a protocol looks at; columns that are not given are unknown."""
    count = len(next(iter(columns.values())))
    whole = {c: np.asarray(columns.get(c, np.full(count, -1)), np.int32) for c in COLUMNS}
    clip_names = [f"clip {i}" for i in range(count)]

    class Table(SimpleNamespace):
        def __len__(self):
            return count

    return Table(path=Path("x.clips"), protocol=protocol, class_names=names, labels=whole["label"], names=clip_names, columns=lambda: whole)


def grid(setups=range(1, 33), views=(1, 2, 3), performers=range(1, 107)) -> SimpleNamespace:
    """Every setup, camera and performer once per class."""
    mesh = np.meshgrid(setups, views, performers, (0, 1), indexing="ij")
    setup, view, subject, label = (m.ravel() for m in mesh)
    return table("cross-subject", setup=setup, view=view, subject=subject, label=label, repetition=setup % 2 + 1)


GRID = grid()


def numbers(column: str, indices: np.ndarray) -> set[int]:
    return set(GRID.columns()[column][indices].tolist())


def test_ntu_cross_subject_trains_the_20_and_the_53_published_performers():
    train, test, name = protocols.split(GRID)
    assert name == "cross-subject" and train.dtype == np.int64 == test.dtype
    first = {p for p in numbers("subject", train) if p <= 40}
    assert first == {1, 2, 4, 5, 8, 9, 13, 14, 15, 16, 17, 18, 19, 25, 27, 28, 31, 34, 35, 38}
    assert len(numbers("subject", train)) == 53 == len(numbers("subject", test))  # NTU RGB+D 120 halves its 106 performers
    assert {52, 59, 80, 103} <= numbers("subject", train) and {51, 60, 87, 106} <= numbers("subject", test)
    assert not numbers("subject", train) & numbers("subject", test) and len(train) + len(test) == len(GRID)


@pytest.mark.parametrize(
    ("protocol", "column", "training", "testing"),
    [
        ("cross-view", "view", {2, 3}, {1}),
        ("cross-setup", "setup", set(range(2, 33, 2)), set(range(1, 33, 2))),
        ("odd-even-subjects", "subject", set(range(1, 107, 2)), set(range(2, 107, 2))),
        ("train-views:1,2", "view", {1, 2}, {3}),
        ("train-views: 1 , 2", "view", {1, 2}, {3}),
        ("train-subjects:7", "subject", {7}, set(range(1, 107)) - {7}),
        ("train-setups:1,32", "setup", {1, 32}, set(range(2, 32))),
        ("train-repetitions:2", "repetition", {2}, {1}),
        ("subject % 2 == 1", "subject", set(range(1, 107, 2)), set(range(2, 107, 2))),
        ("1 < view <= 3", "view", {2, 3}, {1}),
        ("setup == 1 / setup == 2", "setup", {1}, {2}),
        ("not (setup in [1, 2] or setup >= 4)", "setup", {3}, {1, 2, *range(4, 33)}),
        ("setup // 16 == 0 / setup // 16 == 2", "setup", set(range(1, 16)), {32}),
        ("-setup + 33 == 2 * 3", "setup", {27}, set(range(1, 33)) - {27}),
    ],
)
def test_forms(protocol, column, training, testing):
    train, test, name = protocols.split(GRID, protocol)
    assert (numbers(column, train), numbers(column, test), name) == (training, testing, protocol)
    assert (np.diff(train) > 0).all() and (np.diff(test) > 0).all() and not set(train) & set(test)


def atoms():
    column, number = st.sampled_from(["subject", "view", "setup"]), st.integers(0, 9).map(str)
    operand = st.one_of(column, number, st.tuples(column, st.sampled_from("+-*"), number).map(lambda t: f"({' '.join(t)})"))
    operand = st.one_of(operand, st.tuples(column, st.sampled_from(["%", "//"]), st.integers(1, 5)).map(lambda t: f"{t[0]} {t[1]} {t[2]}"))
    compare = st.tuples(operand, st.sampled_from(["==", "!=", "<", "<=", ">", ">="]), operand).map(" ".join)
    chain = st.tuples(number, column, number).map(lambda t: f"{t[0]} < {t[1]} <= {t[2]}")
    inside = st.tuples(column, st.sampled_from(["in", "not in"]), st.lists(st.integers(-3, 8).map(str), max_size=3)).map(
        lambda t: f"{t[0]} {t[1]} ({''.join(n + ', ' for n in t[2])})"
    )
    return st.one_of(compare, chain, inside)


expressions = st.recursive(
    atoms(),
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from(["and", "or"]), inner).map(lambda t: f"({t[0]}) {t[1]} ({t[2]})"),
        inner.map(lambda e: f"not ({e})"),
    ),
    max_leaves=6,
)


@given(expressions)
def test_expressions_mean_what_python_means(text):
    small = grid(range(3), range(3), range(8))
    columns = small.columns()
    rows = [
        dict(subject=int(s), view=int(v), setup=int(u)) for s, v, u in zip(*(columns[c] for c in ("subject", "view", "setup")), strict=True)
    ]
    expected = np.array([bool(eval(text, {}, row)) for row in rows])  # the text is of our own making
    if expected.all() or not expected.any():
        with pytest.raises(ProtocolError, match="leaves the (training|test) part .* empty"):
            protocols.split(small, text)
    else:
        train, test, _ = protocols.split(small, text)
        assert train.tolist() == np.flatnonzero(expected).tolist() and test.tolist() == np.flatnonzero(~expected).tolist()


@pytest.mark.parametrize(
    ("protocol", "words"),
    [
        ("cross-subjects", "unknown protocol 'cross-subjects'; did you mean 'cross-subject'"),
        ("cross_view", "did you mean 'cross-view'"),
        ("train-view:1", "unknown protocol 'train-view:1'; did you mean 'train-views'"),
        ("train-views:", "expected numbers after the colon"),
        ("train-views:one", "expected numbers after the colon.*found 'one'"),
        ("subjct == 1", "no column 'subjct'; did you mean 'subject'"),
        ("subject = 1", "can't be understood"),
        ("subject ==", "can't be understood"),
        ("(" * 500 + "1" + ")" * 500, "can't be understood"),
        ("subject % 0 == 1", "can't be understood"),
        (f"subject < {10**30}", "can't be understood"),
        ("subject % 2", "expected a condition"),
        ("subject and view", "expected a condition"),
        ("(subject == 1) + 1 == 2", "a condition stands where a number is expected"),
        ("(subject == 1) & (view == 1)", "not understood"),
        ("subject == 1.5", "'1.5' is not understood"),
        ("subject == True", "'True' is not understood"),
        ("subject is 1", "compare with == or !="),
        ("subject in view", "expected a list of integers after 'in'"),
        ("subject ** 2 == 4", "not understood"),
        ("__import__('os').system('true')", "not understood"),
        ("[s for s in subject]", "not understood"),
        ("subject.sum() == 1", "not understood"),
        ("setup == 1 / setup == 1", "in both parts, e.g. 'clip 0'"),
        ("setup == 1 / setup == 2 / setup == 3", "more than one"),
        ("subject == 500", "leaves the training part of 'x.clips' empty"),
        ("subject > 0", "leaves the test part of 'x.clips' empty"),
        ("1 == 1", "leaves the test part"),
        ("label == 0", "1 classes without a clip in the training part: 1 'clap'"),
    ],
)
def test_refusals(protocol, words):
    with pytest.raises(ProtocolError, match=words):
        protocols.split(GRID, protocol)


def test_class_missing_from_the_test_part():
    lopsided = table(label=[0, 0, 1, 1], subject=[1, 2, 1, 3])
    with pytest.raises(ProtocolError, match="1 classes without a clip in the test part: 1 'clap'"):
        protocols.split(lopsided, "odd-even-subjects")


def test_class_of_which_the_file_has_nothing_is_no_hindrance():
    partial = table(names=("wave", "clap", "never"), label=[0, 0, 1, 1], subject=[1, 2, 1, 2])
    assert protocols.split(partial, "odd-even-subjects").test.tolist() == [1, 3]


def test_unknown_values_are_refused_rather_than_counted_as_odd():
    """In Python -1 % 2 == 1: an unknown performer must not land in the training part."""
    nobody = table(label=[0, 0, 1, 1], view=[1, 2, 1, 2])
    with pytest.raises(ProtocolError, match="needs the subject, which is unknown for every clip"):
        protocols.split(nobody, "odd-even-subjects")
    some = table(label=[0, 0, 1, 1], subject=[1, 2, -1, 2])
    with pytest.raises(ProtocolError, match="unknown for 1 of 4 clips, e.g. 'clip 2'"):
        protocols.split(some, "odd-even-subjects")


def test_file_without_a_protocol_asks_for_one():
    with pytest.raises(ProtocolError, match="names no protocol of its own; name one .*odd-even-subjects"):
        protocols.split(table(label=[0, 0], subject=[1, 2]))
