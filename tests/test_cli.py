"""The command line as people call it: in a process of its own, with good input and bad."""

from __future__ import annotations

import csv
import errno
import inspect
import json
import os
import re
import resource
import signal
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import psutil
import pytest
import torch
from command_line import call, refused

from skelmm_core import checkpoints, cli, clips, drawing, export, settings, stage_commands
from skelmm_core.errors import DataError
from skelmm_core.evaluation import complexity
from skelmm_core.recordings import Recording, Source, as_given
from skelmm_core.skeletons import KINECT20, NTU25
from skelmm_core.sources import sample

ROOT = Path(__file__).parents[1]
TINY = ("--smoke", "--modalities", "joint,bone", "--device", "cpu")
COMMANDS = (*cli.COMMANDS, *cli.STAGED)
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "COLUMNS": "200"}


def skelmm(*arguments: object, **options) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "skelmm_core", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, env=ENVIRONMENT, timeout=120, **{"cwd": ROOT} | options)


def fails(*words: str, by: subprocess.CompletedProcess) -> None:
    """One clear message on stderr that holds `words`, exit code 2, no traceback."""
    assert by.returncode == 2, by.stderr
    assert by.stderr.startswith("skelmm: "), by.stderr
    assert "Traceback" not in by.stderr + by.stdout
    for word in words:
        assert word in by.stderr, f"{word!r} is not in {by.stderr!r}"


@pytest.fixture(scope="module")
def motion(tmp_path_factory) -> Path:
    """68 generated clips, one camera."""
    path = tmp_path_factory.mktemp("clips") / "motion.clips"
    clips.write(path, sample.read(performers=4, repetitions=1, cameras=1))
    return path


def source(recordings: list[Recording], skeleton=NTU25, protocol="odd-even-subjects") -> Source:
    return Source("people", skeleton, ("wave", "kick"), 30.0, protocol, "0" * 64, recordings, as_given)


def two_classes(skeleton=KINECT20) -> Source:
    rng = np.random.default_rng(0)
    return source(
        [Recording(rng.normal(size=(1, 20, len(skeleton), 3)).astype("f4"), i % 2, f"clip {i}", subject=1 + i // 8) for i in range(16)],
        skeleton,
    )


# Help and start-up


def test_every_command_has_help_with_defaults(capsys):
    for command in COMMANDS:
        stages = ("pretrain",) if command in cli.STAGED else ()
        with pytest.raises(SystemExit) as stop:
            cli.main([command, *stages, "--help"])
        shown = capsys.readouterr().out
        assert stop.value.code == 0
        assert "(default: " in shown, command


def test_help_of_the_whole_names_every_command_and_starts_without_torch():
    program = "import sys; sys.argv = ['skelmm', '--help']\ntry:\n    import skelmm_core.cli as c; c.main()\nexcept SystemExit: pass\n"
    program += "print([m for m in ('torch', 'matplotlib', 'papermill', 'scipy') if m in sys.modules])"
    shown = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=ENVIRONMENT, cwd=ROOT, timeout=60).stdout
    assert shown.strip().endswith("[]"), shown[-200:]
    for command in COMMANDS:
        assert f"• {command}" in shown


def test_defaults_of_a_stage_are_those_of_the_preset_and_their_help_is_the_comment(capsys):
    with pytest.raises(SystemExit):
        cli.main(["train", "distill", "--preset", "small", "--help"])
    shown = " ".join(capsys.readouterr().out.replace("│", " ").split())
    small = settings.resolve("distill", "small")
    assert f"passes of stage 3 (default: {small.student_epochs})" in shown
    assert f"K, negatives per branch (default: {small.queue})" in shown
    for name in settings.field_types(settings.Distill):
        assert f"--{name.replace('_', '-')}" in shown, name


def test_options_of_sample_are_those_of_its_reader():
    ours, theirs = inspect.signature(cli.sample).parameters, inspect.signature(sample.read).parameters
    for name in ("performers", "repetitions", "cameras", "seed"):
        assert ours[name].default == theirs[name].default


# Files of clips


def test_a_protocol_that_the_data_do_not_allow_is_told_when_they_are_prepared(tmp_path, capsys):
    names, labels = np.array(["a", "b", "c", "d"]), np.array([0, 0, 1, 1])
    joints = np.random.default_rng(0).normal(size=(8, 25, 3)).astype(np.float32)
    np.savez(tmp_path / "x.npz", joints=joints, offsets=np.arange(0, 9, 2), label=labels, subject=np.array([1, 2, 1, 2]), name=names,
             label_names=np.array(["p", "q"]))  # fmt: skip
    cli.main(["prepare", str(tmp_path / "x.npz"), str(tmp_path / "x.clips"), "-p", "protocol=subject == 3"])
    said = capsys.readouterr().out
    assert "clips       4," in said and re.search("warning: .*subject == 3.*(empty|used)", said)
    assert "subject == 3 (its own): can't be used" in call(capsys, "info", tmp_path / "x.clips")
    said = call(capsys, "prepare", tmp_path / "x.npz", tmp_path / "x.clips", "-p", "protocol=subject == 1")
    assert not re.search("warning: .*(empty|used)", said) and {p.name for p in tmp_path.iterdir()} >= {
        "x.clips.report.json",
        "x.clips.report.html",
    }
    before = (tmp_path / "x.clips").read_bytes()
    for wrong, hint in (("cros-view", "did you mean 'cross-view'"), ("subjct == 1", "did you mean 'subject'")):
        assert hint in refused(capsys, "prepare", tmp_path / "x.npz", tmp_path / "x.clips", "-p", f"protocol={wrong}")
    assert (tmp_path / "x.clips").read_bytes() == before
    npz = (tmp_path / "x.npz").read_bytes()
    assert "is not a file that this command writes" in refused(capsys, "prepare", tmp_path / "x.npz", tmp_path / "x.npz")
    assert (tmp_path / "x.npz").read_bytes() == npz


def test_sample_prepare_and_info(tmp_path, capsys):
    shown = call(capsys, "sample", tmp_path / "s.clips", "--performers", 2, "--repetitions", 1, "--cameras", 1, "--actions", "kick,punch")
    assert "4 clips" in shown
    call(capsys, "sample", tmp_path / "ntu", "--ntu", "--performers", 2, "--repetitions", 1, "--cameras", 1, "--actions", "kick,punch")
    assert len(list((tmp_path / "ntu").glob("*.skeleton"))) == 4
    call(capsys, "prepare", tmp_path / "ntu", tmp_path / "back.clips")
    first, again = clips.open_clips(tmp_path / "s.clips"), clips.open_clips(tmp_path / "back.clips")
    assert all(np.array_equal(first.joints_of(i), again.joints_of(list(again.names).index(first.names[i]))) for i in range(4))
    shown = call(capsys, "info", tmp_path / "s.clips")
    for fact in ("generated motion", "clips       4", "ntu25, 25 joints", "subjects    2: 1, 2", "2  0 kick", "2  1 punch", first.content):
        assert fact in shown
    assert "    2      2  odd-even-subjects (its own)" in shown.splitlines()
    shown = call(capsys, "info", tmp_path / "s.clips", "--protocol", "subject == 2")
    assert "    2      2  subject == 2" in shown.splitlines()


# Training, evaluation, export


def test_train_evaluate_and_export_agree(tmp_path, motion, capsys):
    where = ("--data", motion, "--out", tmp_path / "out", *TINY)
    folder = Path(call(capsys, "train", "pretrain", *where).splitlines()[-1])
    assert len(list(csv.DictReader((folder / "log.csv").open()))) == settings.SMOKE["epochs"]
    assert "found" in call(capsys, "train", "pretrain", *where)
    call(capsys, "export", "pretrain", tmp_path / "teacher.safetensors", *where)
    branches, about = export.load(tmp_path / "teacher.safetensors")
    saved = checkpoints.load(folder / "last.pt")["model"]
    for name, tensor in branches.state_dict().items():
        assert torch.equal(tensor, saved[f"query.{name}"]), name
    assert about["role"] == "teacher" and about["settings"]["modalities"] == "joint,bone"

    trained = json.loads(call(capsys, "evaluate", "pretrain", "--json", *where))
    options = ("--data", motion, "--out", tmp_path / "elsewhere", "--device", "cpu", "--json")
    exported = json.loads(call(capsys, "evaluate", tmp_path / "teacher.safetensors", *options))
    ours, theirs = trained["scores"]["pretrain"], exported["scores"]["teacher.safetensors"]
    assert ours == theirs
    assert trained["raw_1nn"] == exported["raw_1nn"] > 100 / 17
    assert trained["scores"]["untrained"]["clips"] == 34
    expected = complexity.parameters(branches, 17)
    assert trained["cost"]["parameters"] == expected and trained["cost"]["gflops"] > 0 and trained["cost"]["milliseconds"] > 0
    assert trained["signs_of_failure"], "two epochs teach nothing"
    (tmp_path / "mine.txt").write_text("kept")
    assert "is not a file that" in refused(capsys, "export", "exchange", tmp_path / "mine.txt", *where)
    assert "that is a folder: name a file" in refused(capsys, "export", "exchange", tmp_path / "out", *where)
    found = "ends in .safetensors or .onnx, found 'new.onx'"
    assert found in refused(capsys, "export", "exchange", tmp_path / "new.onx", *where)
    assert not list(tmp_path.glob("out/stages/exchange-*")), "trained before the file was looked at"
    data = motion.read_bytes()
    assert "is not a file that this command writes" in refused(capsys, "export", "pretrain", motion, *where)
    assert motion.read_bytes() == data
    shown = call(capsys, "evaluate", "pretrain", *where)
    assert f"{ours['linear']:.1f}" in next(line for line in shown.splitlines() if line.startswith("pretrain, fused"))
    (cost,) = [line for line in shown.splitlines() if line.startswith("pretrain: ")]
    assert f"{expected / 1e6:.2f} million parameters" in cost and "GFLOP and" in cost and "ms a clip" in cost
    told = [line.removeprefix("sign of failure: ") for line in shown.splitlines() if line.startswith("sign of failure: ")]
    assert told == trained["signs_of_failure"]


def test_evaluate_tells_each_sign_by_its_measure():
    def summary(linear: float, knn: float) -> dict:
        return {"linear": linear, "knn": knn, "streams": {"joint": {"linear": linear, "knn": knn}}, "clips": 400}

    exp, spread = SimpleNamespace(chance=5.0), {"joint": torch.randn(50, 8, generator=torch.Generator().manual_seed(0))}
    scores = {"pretrain": summary(60, 60), "untrained": summary(30, 30)}
    assert stage_commands._signs(exp, "pretrain", scores, spread) == []
    collapsed = stage_commands._signs(exp, "pretrain", scores, {"joint": torch.ones(50, 8)})
    assert len(collapsed) == 1 and "collapsed" in collapsed[0]
    near = stage_commands._signs(exp, "pretrain", scores | {"pretrain": summary(60, 30)}, spread)
    assert len(near) == 2 and all(sign.startswith("Nearest neighbours by") for sign in near)
    assert stage_commands._signs(exp, "untrained", {"untrained": summary(5, 5)}, spread) == []


SLOWLY = """
import sys, time
from skelmm_core import cli
from skelmm_core.stages.loop import Loop
run, step = Loop.run, Loop.step
Loop.run = lambda loop, *a: (setattr(loop, "save_every", -1.0), run(loop, *a))[1]  # a checkpoint after every epoch
Loop.step = lambda *a: (time.sleep(0.05), step(*a))[1]  # slow enough to be caught in the middle
cli.main(sys.argv[1:])
"""


def test_a_killed_run_ends_as_one_that_was_not(tmp_path, motion, capsys):
    """SIGKILL in the middle of training, the same command again: same losses, to the last digit."""
    epochs, arguments = 12, ("train", "pretrain", "--data", motion, *TINY, "--epochs", 12, "--out")
    command = [sys.executable, "-c", SLOWLY, *map(str, arguments), str(tmp_path / "killed")]
    process = subprocess.Popen(command, env=ENVIRONMENT, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    began = time.monotonic()
    while not (logs := list((tmp_path / "killed").glob("stages/*/log.csv"))) or len(logs[0].read_text().splitlines()) < 4:
        assert process.poll() is None and time.monotonic() - began < 600, "training ended before it could be killed"
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert 3 <= len(logs[0].read_text().splitlines()) - 1 < epochs
    call(capsys, *arguments, tmp_path / "killed")
    call(capsys, *arguments, tmp_path / "whole")
    whole, killed = (list(csv.DictReader(next((tmp_path / run).glob("stages/*/log.csv")).open())) for run in ("whole", "killed"))
    assert len(whole) == len(killed) == epochs
    for a, b in zip(whole, killed, strict=True):
        assert {**a, "seconds": ""} == {**b, "seconds": ""}


# Bad input


def test_missing_empty_truncated_and_foreign_files(tmp_path, motion, capsys):
    fails("no clips file at", "nothing.clips", "skelmm prepare", by=skelmm("info", tmp_path / "nothing.clips"))
    (tmp_path / "empty.clips").write_bytes(b"")
    assert "is empty" in refused(capsys, "info", tmp_path / "empty.clips")
    (tmp_path / "cut.clips").write_bytes(motion.read_bytes()[:100_000])
    assert "header promises" in refused(capsys, "train", "pretrain", "--data", tmp_path / "cut.clips", "--out", tmp_path / "out")
    (tmp_path / "notes.txt").write_text("hello " * 100)
    assert "is not a clips file" in refused(capsys, "evaluate", "untrained", "--data", tmp_path / "notes.txt", "--out", tmp_path / "out")
    assert "no reader knows its content" in refused(capsys, "prepare", tmp_path / "notes.txt", tmp_path / "x.clips")
    assert "no file or folder" in refused(capsys, "prepare", tmp_path / "nowhere", tmp_path / "x.clips")
    (tmp_path / "S001C001P001R001A001.skeleton").write_text("")
    assert "S001C001P001R001A001" in refused(capsys, "prepare", tmp_path / "S001C001P001R001A001.skeleton", tmp_path / "x.clips")
    assert not (tmp_path / "x.clips").exists() and not (tmp_path / "out").exists()
    assert not list(tmp_path.glob(".*"))


def ntu_file(folder: Path, name: str, change=lambda text: text) -> None:
    from skelmm_core.sources.ntu_writer import text

    rng = np.random.default_rng(1)
    (folder / f"{name}.skeleton").write_text(change(text(rng.normal(1, 0.3, (1, 8, 25, 3)).astype("f4"), name)))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda t: t.replace("\n25\n", "\n24\n", 1), ("S001C001P001R001A002", "25")),
        (lambda t: "\n".join(["nan " + line.partition(" ")[2] if i == 4 else line for i, line in enumerate(t.split("\n"))]), ("nan",)),
        (lambda t: t[: len(t) // 2], ("S001C001P001R001A002",)),
    ],
    ids=["joint count", "nan", "truncated"],
)
def test_broken_recordings_name_the_file_and_leave_nothing(tmp_path, motion, capsys, change, words):
    folder = tmp_path / "raw"
    folder.mkdir()
    for name in ("S001C001P001R001A001", "S001C001P002R001A001", "S001C001P002R001A002"):
        ntu_file(folder, name)
    ntu_file(folder, "S001C001P001R001A002", change)
    (tmp_path / "old.clips").write_bytes(motion.read_bytes())
    message = refused(capsys, "prepare", folder, tmp_path / "old.clips", "--strict")
    for word in ("S001C001P001R001A002", *words):
        assert word in message
    assert (tmp_path / "old.clips").read_bytes() == motion.read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["old.clips", "raw"]


def test_prepare_takes_a_protocol_for_any_source(tmp_path, capsys):
    for name in ("S001C001P001R001A001", "S001C002P001R001A001", "S001C003P001R001A001"):
        ntu_file(tmp_path, name)
    call(capsys, "prepare", tmp_path, tmp_path / "x.clips", "--protocol", "view == 2")
    assert clips.open_clips(tmp_path / "x.clips").protocol == "view == 2"
    assert "no column" in refused(capsys, "prepare", tmp_path, tmp_path / "y.clips", "--protocol", "camera == 2")


def test_a_class_with_one_clip(tmp_path, capsys):
    for name in ("S001C001P001R001A001", "S001C001P002R001A001", "S001C001P002R001A002"):
        ntu_file(tmp_path, name)
    cli.main(["prepare", str(tmp_path), str(tmp_path / "x.clips")])
    assert "a single clip, which no protocol trains or tests with: class 1 'eat meal' ('S001C001P002R001A002')" in capsys.readouterr().out


def test_unknown_names_are_told_with_the_nearest(tmp_path, motion, capsys):
    where = ("--data", motion, "--out", tmp_path / "out")
    assert "did you mean 'small'" in refused(capsys, "train", "pretrain", *where, "--preset", "smal")
    assert "did you mean 'kinect20'" in refused(capsys, "train", "pretrain", *where, "--skeleton", "kinect2")
    assert "did you mean 'cross-view'" in refused(capsys, "evaluate", "pretrain", *where, "--protocol", "cross-veiw")
    assert "did you mean 'acceleration'" in refused(capsys, "train", "pretrain", *where, "--modalities", "acceleraton")
    assert "did you mean 'distill'" in refused(capsys, "train", "distil", *where)
    assert "did you mean 'ntu'" in refused(capsys, "prepare", motion, tmp_path / "x.clips", "--format", "ntuu")
    assert "did you mean 'incomplete'" in refused(capsys, "prepare", motion, tmp_path / "x", "--format", "ntu", "-p", "incomplet=a")
    assert "'epochs' must be above 0" in refused(capsys, "train", "pretrain", *where, "--epochs", "0")
    assert "--key-momentum" in refused(capsys, "train", "pretrain", *where, "--key-momentm", "0.9")
    assert "device must be" in refused(capsys, "train", "pretrain", *where, "--device", "tpu")
    assert "leaves the test part" in refused(capsys, "train", "pretrain", *where, "--protocol", "subject > 0")
    assert not (tmp_path / "out" / "stages").exists()


def test_a_checkpoint_of_another_skeleton(tmp_path, motion, capsys):
    clips.write(tmp_path / "kinect.clips", two_classes(), progress=False)
    where = ("--data", motion, "--out", tmp_path / "out", *TINY)
    call(capsys, "export", "pretrain", tmp_path / "teacher.safetensors", *where)
    message = refused(capsys, "evaluate", tmp_path / "teacher.safetensors", "--data", tmp_path / "kinect.clips", "--out", tmp_path / "out")
    assert "'ntu25' (25 joints)" in message and "'kinect20' (20)" in message and "--skeleton ntu25" in message
    shown = call(
        capsys, "evaluate", tmp_path / "teacher.safetensors", "--data", tmp_path / "kinect.clips", "--skeleton", "ntu25", "--device", "cpu"
    )
    assert "8 clips train, 8 test" in shown
    # A stage's folder that holds weights for other joints.
    folder = Path(call(capsys, "train", "pretrain", *where).splitlines()[-1])
    state = checkpoints.load(folder / "last.pt")
    state["model"]["query.joint.adjacency"] = torch.zeros(3, 20, 20)
    checkpoints.save(folder / "last.pt", state)
    assert "another skeleton" in refused(capsys, "train", "pretrain", *where)
    (folder / "last.pt").write_bytes((folder / "last.pt").read_bytes()[:1000])
    assert "can't be read as a checkpoint" in refused(capsys, "train", "pretrain", *where)


def test_exported_files_that_are_broken(tmp_path, capsys):
    assert "no file with exported encoders" in refused(capsys, "evaluate", tmp_path / "none.safetensors")
    (tmp_path / "torn.safetensors").write_bytes(b"\x10\0\0\0\0\0\0\0{}")
    assert "can't be read as exported encoders" in refused(capsys, "evaluate", tmp_path / "torn.safetensors")


def test_a_folder_that_can_not_be_written(tmp_path, motion):
    """A file stands where the folder would be made: refused for everybody, root too."""
    (tmp_path / "file").write_text("")
    fails("can't write", by=skelmm("train", "pretrain", "--data", motion, "--out", tmp_path / "file" / "out", *TINY))
    fails("can't write", by=skelmm("sample", tmp_path / "file" / "s.clips", "--performers", 2, "--repetitions", 1))
    if os.geteuid():
        locked = tmp_path / "locked"
        locked.mkdir(mode=0o555)
        fails("you may not write there", by=skelmm("sample", locked / "s.clips", "--performers", 2, "--repetitions", 1))


def test_a_killed_pipeline_ends_with_the_metrics_of_one_that_was_not(tmp_path, motion, capsys):
    """SIGKILL of `skelmm run`, its kernel included, in the middle of a notebook's training; then the same command again."""
    words = ("run", "--data", motion, "--smoke", "--notebooks", "02", "-p", "modalities=joint,bone", "-p", "epochs=16", "--out")
    command = [sys.executable, "-m", "skelmm_core", *map(str, words), str(tmp_path / "killed")]
    process = subprocess.Popen(command, env=ENVIRONMENT, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    began = time.monotonic()
    while not (halfway := list((tmp_path / "killed").glob("stages/*/epoch-0008.pt"))):
        assert process.poll() is None and time.monotonic() - began < 600, "the run ended before it could be killed"
        time.sleep(0.005)
    family = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
    assert len(family) >= 3, "the command, papermill's process and the kernel"
    for member in family:
        member.kill()
    psutil.wait_procs(family)
    process.wait()
    assert not halfway[0].with_name("last.pt").exists(), "stage 1 had ended before it could be killed"
    assert not (tmp_path / "killed" / "02_single_modality_pretraining" / "metrics.json").exists()
    for run in ("killed", "whole"):
        call(capsys, *words, tmp_path / run)
        capsys.readouterr()
    killed, whole = (
        json.loads((tmp_path / run / "02_single_modality_pretraining" / "metrics.json").read_text()) for run in ("killed", "whole")
    )
    for metrics in (killed, whole):
        for name in ("notebook_seconds", "cost"):  # times
            metrics.pop(name)
    assert strip_times(killed) == strip_times(whole)


def strip_times(value):
    if isinstance(value, dict):
        return {k: strip_times(v) for k, v in value.items() if "seconds" not in k and "found" not in k}
    return [strip_times(v) for v in value] if isinstance(value, list) else value


def full_after(size: int):
    """A limit on the size of files stands in for a disk that is full: a write fails half-way."""
    return lambda: (signal.signal(signal.SIGXFSZ, signal.SIG_IGN), resource.setrlimit(resource.RLIMIT_FSIZE, (size, size)))


@pytest.mark.parametrize("size", [900, 20_000])
def test_a_full_disk_stops_training_with_a_message(tmp_path, motion, size):
    done = skelmm("train", "pretrain", "--data", motion, "--out", tmp_path / "run", *TINY, preexec_fn=full_after(size))
    fails("can't write", "nothing half written was left behind", by=done)
    assert not list(tmp_path.rglob("*.pt")) and not list(tmp_path.rglob("*.part"))


def test_a_full_disk_leaves_no_half_figure(tmp_path):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("os.fsync", lambda _: (_ for _ in ()).throw(OSError(errno.ENOSPC, "No space left on device")))
        with pytest.raises(DataError, match="can't write .*bars.png'.*free some space"):
            drawing.save(drawing.accuracy_bars({"joint": 50.0}), tmp_path / "bars.png")
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_leaves_nothing(tmp_path):
    done = skelmm("sample", tmp_path / "s.clips", "--performers", 2, "--repetitions", 1, preexec_fn=full_after(200_000))
    fails("can't write", "s.clips", "nothing half written was left behind", by=done)
    assert list(tmp_path.iterdir()) == []


def test_its_version_is_the_package_s(capsys):
    assert call(capsys, "--version").startswith(f"skelmm {version('skelmm')}+")
