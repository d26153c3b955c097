"""`skelmm predict`: the classes that the linear probe gives, by either kind of file, for clips and for raw data."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from command_line import call, refused
from little_files import folder, one_of_each_class

from skelmm_core import about, batches, clips, export, modalities, predict_command, predicting, settings, skeletons, sources, stage_commands
from skelmm_core.encoder import Branches, Encoder, EncoderShape, initialise
from skelmm_core.errors import CheckpointError, DataError
from skelmm_core.evaluation.linear import linear_probe
from skelmm_core.experiment import Experiment
from skelmm_core.recordings import Recording, Source, as_given
from skelmm_core.skeletons import COCO17, KINECT20, NTU25
from skelmm_core.sources import sample

TINY = ("--smoke", "--modalities", "joint,bone", "--device", "cpu")


BEST = {"regions": True, "whiten": 4, "whiten_for": "neighbours", "probe_fit": "ridge", "probe_views": 1}


@pytest.fixture(scope="module")
def motion(tmp_path_factory) -> clips.Clips:
    path = tmp_path_factory.mktemp("clips") / "motion.clips"
    clips.write(path, sample.read(performers=4, repetitions=1, cameras=1))
    return clips.open_clips(path)


def model_for(skeleton, bodies: str = "all", room: int = 2, **changes) -> tuple[predicting.Model, Branches, export.Classifiers]:
    """Three classes by random encoders and classifiers."""
    s = settings.resolve("distill", "small", frames=12, bodies=bodies, modalities="joint,bone", **changes)
    shape = EncoderShape(2, 8, 4, bodies=bodies)
    branches = Branches({name: Encoder(skeleton, shape) for name in s.names}).eval()
    rng = torch.Generator().manual_seed(1)
    initialise(branches, "scaled", rng)
    heads = torch.randn(2, shape.width(s.readout, skeleton), 3, generator=rng), torch.randn(2, 1, 3, generator=rng)
    return predicting.of_branches(branches, heads, "abc", room, s), branches, heads


def slow(branches: Branches, heads: export.Classifiers, s, data: clips.Clips, row: int, room: int) -> np.ndarray:
    """Probabilities of one clip, stream by stream, from what `batches.load` prepares."""
    weights = skeletons.mapping(data.skeleton, next(iter(branches.values())).skeleton)
    target = next(iter(branches.values())).skeleton
    assert weights.shape == (len(target), len(data.skeleton))
    prepared = batches.load(data, np.array([row]), s.frames, target, s.view, smooth=s.smooth, trim=s.trim)
    computed = modalities.compute(
        prepared.joints[..., :room], prepared.frames, target, ("joint", "bone"), "described" if s.unit_axis else "published"
    )
    logits = []
    with torch.no_grad():
        for name, weight, bias in zip(branches, *heads, strict=True):
            feature = branches[name].feature(computed[name], s.readout)[0]
            logits.append(feature @ weight + bias[0])
    e = np.exp(np.mean([x.double().numpy() for x in logits], axis=0))
    return e / e.sum()


@pytest.mark.parametrize("bodies", ["all", "present"])
@pytest.mark.parametrize("read", [{}, {"segments": 2}, {"segments": 2, "regions": True}, {"levels": 3}])
def test_probabilities_are_the_softmax_of_mean_logits(motion, bodies, read):
    model, branches, heads = model_for(NTU25, bodies, **read)
    rows = [*np.flatnonzero(motion.bodies == 2)[:3], *range(5)]
    found = predicting.predict(model, motion, rows)
    for row, probabilities in zip(rows, found, strict=True):
        np.testing.assert_allclose(probabilities, slow(branches, heads, model.settings, motion, row, 2), atol=1e-5)
    assert np.ptp(found, axis=0).max() > 0.01, "clips differ by a thousand times the tolerance"


def test_what_has_no_probabilities_is_told(motion):
    model, branches, _ = model_for(NTU25)
    two = np.stack([motion.joints_of(0)[:, :12]] * 2)
    two[1, 0, 3, 5] = np.nan
    with pytest.raises(DataError, match=r"no probabilities for clip 1 of the 2 given, counted from 0: its coordinates are not all metres"):
        model.probabilities(two)
    for wrong, words in (([[[1.0, 2.0], [3.0]]], "inhomogeneous"), ([["a"]], "<U1"), (two * 1j, "complex"), (None, "object")):
        with pytest.raises(DataError, match=f"'model' takes numbers \\(N, M, T, 25, 3\\), found .*{words}"):
            model.probabilities(wrong)
    ill = predicting.Model(lambda x: torch.full((len(x), 3), torch.nan), NTU25, "abc", 2, model.settings, {})
    with pytest.raises(DataError, match="clip 0 of the 1 given, .* are the file's weights finite"):
        ill.probabilities(two[0])


def test_other_joints_are_mapped_or_refused(motion):
    model, branches, heads = model_for(KINECT20, "present")
    with pytest.raises(CheckpointError, match="'kinect20' \\(20 joints\\).*'ntu25' \\(25\\).*--skeleton kinect20"):
        predicting.predict(model, motion, [0])
    found = predicting.predict(model, motion, [0, 1], "kinect20")
    np.testing.assert_allclose(found[1], slow(branches, heads, model.settings, motion, 1, 2), atol=1e-5)
    mapped = replace(model.settings, skeleton="kinect20")  # a model that was trained on mapped clips maps by itself
    model.settings = mapped
    assert np.array_equal(predicting.predict(model, motion, [0, 1]), found)


def test_joints_in_an_image(tmp_path):
    rng = np.random.default_rng(0)
    joints = [np.abs(rng.normal(size=(1, 9 + i, 17, 3))).astype("f4") * (rng.random((1, 9 + i, 17, 1)) < 0.9) for i in range(4)]
    recordings = [Recording(x.astype("f4"), i % 2, f"clip {i}", subject=1 + i // 2) for i, x in enumerate(joints)]
    clips.write(tmp_path / "a.clips", Source("poses", COCO17, ("a", "d"), 30.0, "", "0" * 64, recordings, as_given), progress=False)
    data = clips.open_clips(tmp_path / "a.clips")
    model, branches, heads = model_for(COCO17, "present", trim=0.1)
    found = predicting.predict(model, data, range(4))
    for row in range(4):
        np.testing.assert_allclose(found[row], slow(branches, heads, model.settings, data, row, 1), atol=1e-5)


def test_clips_in_millimetres_are_told(motion):
    model, _, _ = model_for(NTU25)
    assert not any("millimetres" in note for note in predict_command._notes(model, motion, range(len(motion))))
    large = SimpleNamespace(joints_of=lambda i: 1000 * motion.joints_of(i), skeleton=NTU25, content="", frame_rate=30.0)
    (note,) = predict_command._notes(model, large, range(3))
    assert note.startswith("the clips have bodies of 1,") and "are these millimetres? Divide them by 1000; the model takes metres" in note


def test_more_bodies_than_there_is_room_for(motion):
    model, _, _ = model_for(NTU25, "all", room=1)
    two = int(np.flatnonzero(motion.bodies == 2)[0])
    with pytest.raises(DataError, match=f"clip '{motion.names[two]}' has 2 bodies, 'model' was trained on clips of 1"):
        predicting.predict(model, motion, [two])
    for shape in ((2, 9, 25, 3), (1, 0, 25, 3), (1, 9, 20, 3), (9, 25, 3)):
        with pytest.raises(DataError, match="'model' takes clips .* from 1 to 1, found"):
            model.probabilities(np.zeros(shape))


def test_agreement_goes_by_name():
    model = SimpleNamespace(classes=("walk", "run", "sit"))
    data = SimpleNamespace(class_names=("sit", "fly", "walk"), labels=np.array([0, 1, 2, 2]))
    found = predicting.agreement(model, data, range(4), [2, 0, 0, 1])
    assert (found.right, found.known, found.clips) == (2, 3, 4)
    assert str(found) == "66.7 % of 3 clips right; the classes of 1 others are unknown to the model"
    data.class_names = "def"
    assert "no accuracy: none of the 4 clips" in str(predicting.agreement(model, data, range(4), [2, 0, 0, 1]))


@pytest.mark.parametrize("changes", [{}, {"whiten": 6, "whiten_shrink": 0.1}, {"probe_fusion": "joint", "segments": 2, "whiten": 6}, BEST])
def test_exported_classifiers_are_those_of_the_probe(motion, changes, tmp_path):
    exp = Experiment(motion.path, tmp_path, "small", "cpu", True, modalities="joint,bone", protocol="odd-even-subjects", **changes)
    branches, s = exp.untrained(), exp.settings
    train, test = exp.features(branches)
    probe = linear_probe(train, exp.train.labels, test, exp.test.labels, 17, s, s.probe_fusion, s.probe_standardise)
    export.save(tmp_path / "a.safetensors", branches, s, "teacher", "", 2, stage_commands.classifiers(exp, branches), motion.class_names)
    found = predicting.predict(predicting.load(tmp_path / "a.safetensors"), motion, exp.split.test)
    np.testing.assert_allclose(found, torch.from_numpy(probe.logits).double().softmax(1).numpy(), atol=1e-4)


# The command


@pytest.fixture(scope="module")
def models(motion, tmp_path_factory) -> Path:
    """A folder with a teacher as safetensors and, where its libraries are there, as ONNX."""
    from skelmm_core import cli

    made = tmp_path_factory.mktemp("models")
    where = ["--data", str(motion.path), "--out", str(made / "out"), *TINY]
    for name, more in (
        ("t.safetensors", ["--classes"]),
        ("t.onnx", ["--classes", "--no-metrics"]),
        ("plain.safetensors", ["--no-metrics"]),
    ):
        if name.endswith(".onnx"):
            for library in ("onnx", "onnxruntime", "onnxscript"):
                pytest.importorskip(library, reason=f"{library} is not installed (pip install skelmm[onnx])")
        cli.main(["export", "pretrain", str(made / name), *more, *where])
    return made


def table(path: Path) -> list[dict]:
    return list(csv.DictReader(path.open()))


def test_both_kinds_predict_what_the_card_promises(models, motion, capsys):
    shown = {}
    for kind in ("safetensors", "onnx"):
        out = models / f"{kind}.csv"
        shown[kind] = call(capsys, "predict", models / f"t.{kind}", motion.path, "--part", "test", "--out", out, "--top", 17)
    ours, theirs = table(models / "safetensors.csv"), table(models / "onnx.csv")
    assert len(ours) == 34 and [r["clip"] for r in ours] == [r["clip"] for r in theirs]
    for a, b in zip(ours, theirs, strict=True):
        values = [{r[f"class{end}"]: float(r[f"probability{end}"]) for end in ("", *(f"_{i}" for i in range(2, 18)))} for r in (a, b)]
        assert values[0] == pytest.approx(values[1], abs=1e-4) and sum(values[0].values()) == pytest.approx(1, abs=1e-4)
    card = (models / "t.safetensors.md").read_text()
    percent = card.partition("fused (late) | ")[2].partition(" ")[0]
    assert shown["safetensors"].startswith(f"{percent} % of 34 clips right\n") and shown["onnx"].startswith(percent)
    assert "generated motion" in shown["onnx"] and "of these clips trained the model" not in shown["onnx"]
    everything = call(capsys, "predict", models / "t.safetensors", motion.path, "--top", 2)
    assert len([line for line in everything.splitlines() if line.count(" %") == 2]) == 68
    assert "34 of these clips trained the model; --part test leaves them out" in everything


def test_streams_are_played_and_timed(models, motion, capsys, tmp_path):
    options = ("--part", "test", "--stream", 60, "--hop", 30, "--out", tmp_path / "a.csv")
    shown = call(capsys, "predict", models / "t.safetensors", motion.path, *options)
    expected = sum((int(motion.frames[i]) - 60) // 30 + 1 for i in np.flatnonzero(motion.subjects % 2 == 0))
    rows = table(tmp_path / "a.csv")
    assert len(rows) == expected and f"{expected} predictions, " in shown and "95th percentile" in shown and "frames per second" in shown
    assert float(rows[0]["seconds"]) == pytest.approx(59 / 30, abs=1e-3)


def test_raw_files_are_read_as_prepare_reads_them(models, tmp_path, capsys):
    raw = folder(tmp_path / "raw", one_of_each_class(frames=9))
    out = call(capsys, "predict", models / "t.safetensors", raw, "--out", tmp_path / "a.csv")
    clips.write(tmp_path / "raw.clips", sources.read(raw), progress=False)
    call(capsys, "predict", models / "t.safetensors", tmp_path / "raw.clips", "--out", tmp_path / "b.csv")
    assert table(tmp_path / "a.csv") == table(tmp_path / "b.csv") and len(table(tmp_path / "a.csv")) == 4 and "accuracy" in out


def test_what_can_not_be_predicted_is_told(models, motion, capsys, tmp_path):
    name = models / "t.safetensors"
    assert "skelmm export STAGE plain.safetensors --classes" in refused(capsys, "predict", models / "plain.safetensors", motion.path)
    assert "no file with exported encoders" in refused(capsys, "predict", tmp_path / "no.safetensors", motion.path)
    assert "did you mean 'test'" in refused(capsys, "predict", name, motion.path, "--part", "tets")
    assert "say which part" in refused(capsys, "predict", name, motion.path, "--protocol", "subject == 1")
    assert "give its window" in refused(capsys, "predict", name, motion.path, "--hop", 3)
    assert "--top from 1" in refused(capsys, "predict", name, motion.path, "--top", 0)
    content = bytearray(Path(motion.path).read_bytes())
    begin = 8 + int.from_bytes(content[:8], "little")
    content[begin : begin + 4000] = np.full(1000, np.nan, np.float32).tobytes()
    (tmp_path / "damaged.clips").write_bytes(content)
    assert "was damaged or edited" in refused(capsys, "predict", name, tmp_path / "damaged.clips")
    assert "was damaged or edited" in refused(capsys, "predict", name, tmp_path / "damaged.clips", "--stream", 20)
    (tmp_path / "mine.csv").write_text("name,age\n")
    assert "is not a file that this command writes" in refused(capsys, "predict", name, motion.path, "--out", tmp_path / "mine.csv")
    assert (tmp_path / "mine.csv").read_text() == "name,age\n"
    assert "can't be the name of a file: File name too long" in refused(capsys, "predict", name, tmp_path / f"{'x' * 300}.clips")


def test_a_table_that_can_not_be_written_is_told_before_anything_is_computed(models, motion, capsys, tmp_path, monkeypatch):
    monkeypatch.setattr(predicting, "predict", lambda *_: pytest.fail("computed"))
    for name in ("mine.csv", "folder"):
        (tmp_path / name).mkdir() if name == "folder" else (tmp_path / name).write_text("")
    said = refused(capsys, "predict", models / "t.safetensors", motion.path, "--out", tmp_path / "mine.csv" / "in.csv")
    assert "can't write" in said and "nothing was computed" in said
    assert "folder" in refused(capsys, "predict", models / "t.safetensors", motion.path, "--out", tmp_path / "folder")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["folder", "mine.csv"]


# Names that would do something


def exported_with(path: Path, classes: tuple[str, ...], title: str = "clips", protocol: str = "") -> Path:
    """Encoders whose classifiers have these names, written as they were before names were looked at."""
    branches = Branches({name: Encoder(NTU25, EncoderShape(2, 8, 4)) for name in ("joint", "bone")})
    heads = torch.randn(2, 8, len(classes)), torch.randn(2, 1, len(classes))
    s = settings.resolve("distill", "small", frames=12, modalities="joint,bone")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(about, "check_words", lambda *_: None)
        export.save(path, branches, s, "student", title, 2, heads, classes, {"title": title, "protocol": protocol})
    return path


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        ({"classes": ("a", "\x1b[31mred")}, r"name of class 1 must be printable .* found '\\x1b\[31mred'"),
        ({"classes": ("a\nb", "c")}, r"name of class 0 must be .* found 'a\\nb'"),
        ({"classes": ("a", 3)}, "name of class 1 must be .* found 3"),
        ({"classes": ("a", "b"), "title": "x\x9b2J"}, r"title must be .* found 'x\\x9b2J'"),
        ({"classes": ("a", "b"), "protocol": "\u202ex"}, r"protocol must be .* found '\\u202ex'"),
    ],
)
def test_files_with_names_that_can_not_be_printed_are_refused(motion, capsys, tmp_path, facts, words):
    path = exported_with(tmp_path / "a.safetensors", **facts)
    with pytest.raises(DataError, match=f"a.safetensors': the {words}"):
        predicting.load(path)
    if "protocol" not in facts:
        with pytest.raises(DataError, match=f"a.safetensors': the {words}"):
            export.load(path)
    assert refused(capsys, "predict", path, motion.path).removesuffix("\n").isprintable()


FORMULAS = ("=cmd|' /C calc'!A0", "+1", "-2", "@SUM(A1)")


def test_tables_hold_no_formulas(tmp_path, capsys):
    rng = np.random.default_rng(0)
    recordings = [
        Recording(rng.normal(size=(1, 20, 25, 3)).astype("f4"), 0, name) for name in (*FORMULAS, "a=b", "'x", '=HYPERLINK("x","y")')
    ]
    data = Source("named", NTU25, FORMULAS, 30.0, "", "0" * 64, recordings, as_given)
    clips.write(tmp_path / "a.clips", data, progress=False)
    path = exported_with(tmp_path / "a.safetensors", FORMULAS)
    for options, last in ((("--top", 4), "probability_4"), (("--stream", 10), "seconds")):
        out = tmp_path / f"{last}.csv"
        call(capsys, "predict", path, tmp_path / "a.clips", "--out", out, *options)
        rows = table(out)
        assert list(dict.fromkeys(row["clip"] for row in rows)) == [
            *(f"'{name}" for name in FORMULAS), "a=b", "'x", "'=HYPERLINK(\"x\",\"y\")",
        ]  # fmt: skip
        assert {row["class"] for row in rows} <= {f"'{name}" for name in FORMULAS}
        assert all(float(row["probability"]) > 0 and float(row[last]) >= 0 for row in rows)
    shown = call(capsys, "predict", path, tmp_path / "a.clips")
    assert "+1  " in shown and "'+1" not in shown, "what is printed stays as it is"
    assert predict_command._cell("\t=1") == "'\t=1"
