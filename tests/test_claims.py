"""Claims that a kill, a full disk, a file system without links or another host leaves behind; ordinary ones are in `test_ablation.py`."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from skelmm_core import claims
from skelmm_core.errors import DataError
from skelmm_core.sweep import jobs, local, worker
from skelmm_core.sweep.folder import FORMAT, RESULT, SUBMITTED, write


def no_links(*_) -> None:
    raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))


def older(path: Path, seconds: float) -> None:
    then = time.time() - seconds
    os.utime(path, (then, then))


@pytest.mark.parametrize("links", [True, False])
def test_of_many_one_gets_a_claim_that_is_whole(tmp_path, monkeypatch, links):
    if not links:
        monkeypatch.setattr(os, "link", no_links)
    got, gate = [], threading.Barrier(8)

    def attempt() -> None:
        gate.wait()
        with claims.claimed(tmp_path, "x") as ours:
            got.append(ours)
            gate.wait()
            assert claims.holder(tmp_path / "x.claim") == claims._me() and len(os.listdir(tmp_path)) == 1
            gate.wait()

    workers = [threading.Thread(target=attempt) for _ in range(8)]
    for w in workers:
        w.start()
    for w in workers:
        w.join()
    assert sorted(got) == [False] * 7 + [True] and not os.listdir(tmp_path)


def test_a_link_whose_answer_was_lost_is_a_claim(tmp_path, monkeypatch):
    link = os.link

    def twice(*paths) -> None:  # as a network file system may, when the first answer doesn't arrive
        link(*paths)
        link(*paths)

    monkeypatch.setattr(os, "link", twice)
    with claims.claimed(tmp_path, "x") as first, claims.claimed(tmp_path, "x") as second:
        assert first and not second
    assert not os.listdir(tmp_path)


def test_a_kill_while_a_claim_is_written_leaves_none(tmp_path):
    code = "import json, os, sys, pathlib; from skelmm_core import claims; json.dump = lambda *_: os._exit(9); "
    code += "claims.claimed(pathlib.Path(sys.argv[1]), 'x').__enter__()"
    assert subprocess.run([sys.executable, "-c", code, str(tmp_path)], cwd=Path(__file__).parents[1]).returncode == 9
    assert not (tmp_path / "x.claim").exists()
    with claims.claimed(tmp_path, "x") as ours:
        assert ours


@pytest.mark.parametrize("content", [b"", b'{"host": "he', b"[]", b"{}", b"\xff"])
def test_a_claim_that_says_nothing_is_taken_over_after_a_while(tmp_path, content):
    path = tmp_path / "x.claim"
    path.write_bytes(content)
    assert claims.holder(path) is None and not claims.abandoned(path)
    with claims.claimed(tmp_path, "x") as ours:
        assert not ours
    for seconds in (claims.WRITING + 60, -claims.WRITING - 60):  # the clock may have been set back
        path.write_bytes(content)
        older(path, seconds)
        assert claims.abandoned(path)
        with claims.claimed(tmp_path, "x") as ours:
            assert ours and claims.holder(path)["process"] == os.getpid()
        assert not path.exists()


def test_a_claim_that_may_not_be_opened_is_not_taken_over(tmp_path, monkeypatch):
    path = tmp_path / "x.claim"
    path.write_text("")
    older(path, 3600)

    def refused(self):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(Path, "read_bytes", refused)  # a test may run as root, whom no mode keeps out
    with claims.claimed(tmp_path, "x") as ours:
        assert not ours and path.exists()


@pytest.mark.parametrize("links", [True, False])
def test_a_claim_that_cannot_be_written_leaves_none_and_says_why(tmp_path, monkeypatch, links):
    if not links:
        monkeypatch.setattr(os, "link", no_links)
    dump, left = json.dump, [] if links else [None]  # without links the second file is the claim itself

    def full(content, file) -> None:
        if not left:
            file.write("{")
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        left.pop()
        dump(content, file)

    monkeypatch.setattr(claims.json, "dump", full)
    with (
        pytest.raises(DataError, match=r"can't write '.*x\.claim': No space left on device; .*free some space"),
        claims.claimed(tmp_path, "x"),
    ):
        pass
    assert not os.listdir(tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="can't write .*a part of that path is a file"), claims.claimed(tmp_path / "file" / "folder", "x"):
        pass


# In a sweep


@pytest.fixture
def planned(tmp_path, monkeypatch) -> list[jobs.Job]:
    """Two jobs with stand-ins for their processes, which are done at once."""

    class Done:
        def __init__(self, folder: Path, environment=None, apart=False):
            with claims.claimed(folder, "running") as ours:
                self.code = 0 if ours else worker.STOPPED
                if ours:
                    finish(folder)

        def poll(self) -> int:
            return self.code

    monkeypatch.setattr(worker, "start", Done)
    monkeypatch.setattr(local, "PAUSE", 0.01)
    spec = {"what": "measure", "stage": "exchange"}
    found = [jobs.Job(tmp_path / "sweep" / f"point-{seed}", "", {"seed": seed}, spec) for seed in range(2)]
    for job in found:
        job.folder.mkdir(parents=True)
    return found


def finish(folder: Path) -> None:
    write(folder / RESULT, {"format": FORMAT, "metrics": {}, "folder": "", "seconds": 1.0, "training_seconds": 1.0})


def test_a_sweep_says_once_for_whom_it_waits_and_goes_on_when_the_claim_is_deleted(planned):
    first, second = planned
    path = first.folder / "running.claim"
    path.write_text(json.dumps({"host": "elsewhere", "boot": "1", "process": 4321, "began": "5"}))
    said: list[str] = []
    threading.Timer(0.5, path.unlink).start()
    local.run(planned, "cpu", 2, said.append)
    line = f"waiting for process 4321 on host elsewhere, which works on exchange: seed=0; delete {path} if it has ended"
    assert said.count(line) == 1 == sum(text.startswith("waiting") for text in said)
    assert said.index(line) < said.index(f"started: {first.title}") and all(job.result for job in planned)


def test_what_slurm_has_queued_is_left_to_it(planned):
    first, second = planned
    write(first.folder / SUBMITTED, {"id": "12"})
    said: list[str] = []
    local.run(planned, "cpu", 2, said.append, {"12": "PENDING"})
    assert said[0] == f"left to Slurm, which has it as job 12, pending: {first.title}"
    assert not first.result and second.result and (first.folder / SUBMITTED).exists()
    local.run(planned, "cpu", 2, said.append, {})
    assert first.result, "it left the queue without a result"


def test_a_sweep_says_nothing_of_a_process_of_this_host_that_lives(planned):
    held = claims.claimed(planned[0].folder, "running")
    assert held.__enter__()

    def end() -> None:
        finish(planned[0].folder)
        held.__exit__(None, None, None)

    said: list[str] = []
    threading.Timer(0.3, end).start()
    local.run(planned, "cpu", 2, said.append)
    assert [text.partition(":")[0] for text in said] == ["started", "done"] and all(job.result for job in planned)


def test_a_sweep_takes_over_a_claim_that_says_nothing(planned, monkeypatch):
    monkeypatch.setattr(claims, "WRITING", 0.3)
    (planned[0].folder / "running.claim").touch()
    local.run(planned, "cpu", 2, lambda line: None)
    assert all(job.result for job in planned) and not list(planned[0].folder.glob("*.claim"))
