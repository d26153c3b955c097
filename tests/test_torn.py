"""Torn and changed checkpoints: the one before is gone back to, or what is missing made again, and any changed byte is seen."""

from __future__ import annotations

import errno
import os
import random
from pathlib import Path

import pytest
import torch
from toy_stage import TINY, after, heard, joints, loop, motion, state, whole  # noqa: F401 - fixtures

from skelmm_core import checkpoints, files, verify
from skelmm_core.errors import CheckpointError
from skelmm_core.experiment import Experiment
from skelmm_core.stages.loop import Loop

pytestmark = pytest.mark.faults
FULL = OSError(errno.ENOSPC, "No space left on device")


def torn(path: Path, how: str) -> None:
    content = bytearray(path.read_bytes())
    if how == "empty":
        content = b""
    elif how == "cut short":
        content = content[: len(content) * 2 // 3]
    elif how == "a hole":
        content[len(content) // 2 : len(content) // 2 + 4096] = bytes(4096)
    elif how == "one bit":
        content[len(content) // 3] ^= 4
    if how == "gone":
        path.unlink()
    else:
        path.write_bytes(content)


@pytest.mark.parametrize("how", ["empty", "cut short", "a hole", "one bit", "gone"])
def test_a_torn_checkpoint_falls_back_to_the_one_before(joints, whole, tmp_path, how, capsys):
    with pytest.raises(KeyboardInterrupt):
        loop(joints, tmp_path, on_step=after(8)).run()
    last, before = tmp_path / "last.pt", tmp_path / "last.before.pt"
    assert [len(checkpoints.load(p)["steps"]) for p in (last, before)] == [2, 1]  # of the second epoch; the eighth step was not saved
    torn(last, how)
    capsys.readouterr()
    good = before.read_bytes()
    with pytest.raises(KeyboardInterrupt):
        loop(joints, tmp_path, every=1e9, on_step=after(1)).run()
    told = capsys.readouterr().err
    if how == "gone":
        assert "can't be read" not in told
    else:
        assert "last.pt" in told and "can't be read as a checkpoint" in told and "going on from the checkpoint before it" in told
    steps: list[dict] = []
    loop(joints, tmp_path, on_step=steps.append).run()
    assert len(steps) == 14 and state(tmp_path) == whole
    assert good != before.read_bytes()


def test_a_torn_file_never_takes_the_place_of_the_good_one_before(joints, tmp_path, monkeypatch):
    with pytest.raises(KeyboardInterrupt):
        loop(joints, tmp_path, on_step=after(8)).run()
    good = (tmp_path / "last.before.pt").read_bytes()
    torn(tmp_path / "last.pt", "cut short")
    with monkeypatch.context() as patch:
        replace = os.replace

        def killed(source, target) -> None:
            if Path(target).name == "last.pt":  # where the new one takes its name
                raise KeyboardInterrupt
            replace(source, target)

        patch.setattr(files.os, "replace", killed)
        with pytest.raises(KeyboardInterrupt):
            loop(joints, tmp_path).run()
    assert (tmp_path / "last.before.pt").read_bytes() == good


def test_when_both_are_torn_it_is_said(joints, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        loop(joints, tmp_path, on_step=after(8)).run()
    for name in ("last.pt", "last.before.pt"):
        torn(tmp_path / name, "cut short")
    with pytest.raises(CheckpointError, match=r"last\.before\.pt \(\d+ bytes\) can't be read .* delete '.*last\.pt' and '.*before\.pt' to"):
        loop(joints, tmp_path).run()


def killed_here(*_: object) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize("how", ["cut short", "gone"])
def test_a_torn_checkpoint_between_stages_is_made_again(motion, tmp_path, how, capsys):
    """Stage 2 starts from a checkpoint that stage 1 keeps; the last one of stage 1 holds the same."""
    exp = Experiment(motion, tmp_path, **TINY)
    exp.exchange()
    (kept,) = (tmp_path / "stages").glob("pretrain-*/epoch-*.pt")
    wanted = verify.digests(checkpoints.load(kept))
    torn(kept, how)
    capsys.readouterr()
    other = exp.again(exchange="ikem")
    other.exchange()
    assert ("set aside as" in capsys.readouterr().err) == (how != "gone")
    assert verify.digests(checkpoints.load(kept)) == wanted and kept.with_suffix(".torn").exists() == (how != "gone")
    other.pretrain()  # to its end, so that nothing is left of that moment
    torn(kept, how)
    ended = verify.digests(checkpoints.load(kept.parent / "last.pt"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Loop, "_put_back", killed_here)
        with pytest.raises(KeyboardInterrupt):  # a kill between its end and its place
            other.again(exchange="ekem").exchange()
    other.again(exchange="ekem").exchange()
    assert "is trained again up to there" in capsys.readouterr().err
    assert verify.digests(checkpoints.load(kept)) == wanted and not list(kept.parent.glob("again*"))
    assert verify.digests(checkpoints.load(kept.parent / "last.pt")) == ended


@pytest.mark.parametrize("past", [True, False])
def test_a_torn_kept_checkpoint_of_a_stage_that_is_asked_for_up_to_it_is_made_again(motion, tmp_path, past, capsys):
    exp = Experiment(motion, tmp_path, **TINY)
    exp.pretrain(until=2)
    if past:
        exp.pretrain()
    (kept,) = (tmp_path / "stages").glob("pretrain-*/epoch-0002.pt")
    wanted = verify.digests(checkpoints.load(kept))
    torn(kept, "cut short")
    exp.again().pretrain(until=2)
    assert verify.digests(checkpoints.load(kept)) == wanted and kept.with_suffix(".torn").exists()
    assert "set aside as" in capsys.readouterr().err


@pytest.mark.parametrize("how", ["cut short", "gone"])
def test_a_stage_whose_last_checkpoint_is_torn_is_found_up_to_the_one_before(motion, tmp_path, how):
    exp = Experiment(motion, tmp_path, **TINY)
    exp.pretrain(until=2)
    exp.pretrain()
    (last,) = (tmp_path / "stages").glob("pretrain-*/last.pt")
    torn(last, how)
    assert exp.again().pretrain(until=2).found


def test_tensors_come_back_as_they_were_from_files_of_any_format(tmp_path, monkeypatch):
    rng = torch.Generator().manual_seed(0)
    model = {
        "weight": torch.randn(3, 4, 2, generator=rng).to(memory_format=torch.contiguous_format).transpose(0, 2),  # not contiguous
        "steps": torch.tensor(7), "none": torch.empty(0, 5), "mask": torch.rand(9, generator=rng) > 0.5,
        "half": torch.randn(5, generator=rng).bfloat16(), "nan": torch.tensor([float("nan"), -0.0]), "more": torch.arange(6).reshape(2, 3),
    }  # fmt: skip
    content = {"model": model, "momentum": {}, "rows": [{"epoch": 1}], "mixed": {"x": torch.ones(2), "y": 3}, "steps": None}

    def table(saved: dict) -> list:
        return [(name, str(t.dtype), tuple(t.shape), verify.digest(t)) for name, t in saved["model"].items()]

    for format in (checkpoints.FORMAT, checkpoints.LOOSE, checkpoints.BEFORE):
        with monkeypatch.context() as patch:
            patch.setattr(checkpoints, "FORMAT", format)
            if format != 3:
                patch.setattr(checkpoints, "_packed", lambda value: value)  # as it was written then
            checkpoints.save(tmp_path / "a.pt", content)
        found = checkpoints.load(tmp_path / "a.pt")
        assert found["format"] == format and table(found) == table(content)
        assert found["momentum"] == {} and found["rows"] == [{"epoch": 1}] and found["mixed"]["y"] == 3 and found["steps"] is None
        checkpoints.save(tmp_path / "again.pt", found)  # as a stage does for a kept checkpoint that has gone
        again = checkpoints.load(tmp_path / "again.pt")
        assert again["format"] == checkpoints.FORMAT and table(again) == table(content) and again["versions"] == found["versions"]
        found["model"]["more"] += 1  # nothing else has a part in this memory
        assert {row[0] for row in set(table(found)) ^ set(table(content))} == {"more"}


def test_any_changed_byte_is_seen_and_files_without_a_checksum_are_read(tmp_path, monkeypatch):
    path = tmp_path / "a.pt"
    content = {"x": torch.randn(300, generator=torch.Generator().manual_seed(0)), "rows": [{"epoch": 1, "loss": 0.5}]}
    checkpoints.save(path, content)
    written = path.read_bytes()
    assert torch.equal(torch.load(path, weights_only=True)["x"], content["x"])
    rng, end = random.Random(0), len(written) - len(checkpoints.MARK) - 32

    def flipped(data: bytes, place: int) -> bytes:
        return data[:place] + bytes([data[place] ^ 1 << rng.randrange(8)]) + data[place + 1 :]

    places = (0, end - 1, end, len(written) - 1, *(rng.randrange(len(written)) for _ in range(200)), *range(end, len(written), 5))
    damaged = [flipped(written, place) for place in places]
    cut = [written[:-n] for n in range(1, len(written) - end + 1)]
    damaged += [*cut, written + b"\0", written[:end] + bytes(len(written) - end), *(flipped(data, rng.randrange(end)) for data in cut[::5])]
    for data in damaged:
        path.write_bytes(data)
        with pytest.raises(CheckpointError, match="can't be read as a checkpoint|not a skelmm checkpoint"):
            checkpoints.load(path)
    monkeypatch.setattr(checkpoints, "FORMAT", checkpoints.BEFORE)
    checkpoints.save(path, content)
    monkeypatch.undo()
    old = path.read_bytes()
    for data in (old, old[: old.rindex(checkpoints.MARK)]):
        path.write_bytes(data)
        assert torch.equal(checkpoints.load(path)["x"], content["x"])
