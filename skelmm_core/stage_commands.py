"""`skelmm train`, `evaluate` and `export`: one stage each, with the stage's settings as options.

The options are the fields of the settings class, their help the comments beside the fields, their defaults those of the preset that
the command line names: nothing is written a second time here.
"""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, cast

import numpy as np
import tyro
from torch import Tensor
from tyro.conf import OmitArgPrefixes, Positional, arg

from skelmm_core import processes, settings
from skelmm_core.comparison import Row
from skelmm_core.comparison import command as comparison
from skelmm_core.encoder import Branches
from skelmm_core.errors import CheckpointError, SettingsError, nearest
from skelmm_core.evaluation.diagnosis import signs_of_failure
from skelmm_core.experiment import Experiment
from skelmm_core.settings import Evaluate

STAGES = {"pretrain": "Stage 1: every modality alone.", "exchange": "Stage 2: modalities exchange what they know.",
          "distill": "Stage 3: the teacher of all modalities teaches students of few."}  # fmt: skip
UNTRAINED = {"untrained": "Encoders as stage 1 starts them: what every trained result must beat."}


JSON = ("json", Annotated[bool, arg(help="print everything as JSON instead of a table")], dataclasses.field(default=False))
EXAMPLES = 8  # test clips that an ONNX file is tried on
_EXPORTED = "file to write: .safetensors, or .onnx with the preparation of raw coordinates inside (needs skelmm[onnx])"
_CLASSES = "linear classifiers, too, for `skelmm predict`: trained on frozen features of the training clips, as the linear probe's are"
_METRICS = "figures of `skelmm evaluate STAGE` for the model card FILE.md, which take as long as that command"


@dataclass(frozen=True)
class Where:
    """Data and folders."""

    data: str = "sample"  # clips file, or "sample" for the built-in generated motion
    out: Path = Path("outputs/run")  # folder that stages are found in and written to
    preset: str = "quick"  # described (in the paper), published (its code), small (hundreds of clips), best (of those), or quick (minutes)
    device: str = "auto"  # auto, cpu, cuda or cuda:N
    smoke: bool = False  # toy sizes, to see that everything runs


def main(command: str, description: str, argv: Sequence[str]) -> None:
    """Parse `skelmm COMMAND STAGE ...` and do it."""
    act, extra, stages = {
        "train": (train, [], STAGES),
        "evaluate": (evaluate, [JSON, *comparison.OPTIONS], UNTRAINED | STAGES),
        "export": (
            export,
            [
                ("file", Annotated[Path, Positional, arg(metavar="FILE", help=_EXPORTED)], dataclasses.field()),
                ("classes", Annotated[bool, arg(help=_CLASSES)], dataclasses.field(default=False)),
                ("metrics", Annotated[bool, arg(help=_METRICS)], dataclasses.field(default=True)),
            ],
            STAGES,
        ),
    }[command]
    if command == "evaluate" and argv and Path(argv[0]).suffix == ".safetensors":
        return evaluate_file(argv)
    if not argv or argv[0].startswith("-"):
        tyro.extras.subcommand_cli_from_dict(
            {name: _described(text) for name, text in stages.items()}, prog=f"skelmm {command}", description=description, args=list(argv)
        )
        return None
    stage, rest = argv[0], list(argv[1:])
    if stage not in stages:
        raise SettingsError(f"unknown stage '{stage}'{nearest(stage, stages)}")
    kind = settings.STAGES["pretrain" if stage in UNTRAINED else stage]
    where, _ = tyro.cli(Where, args=rest, return_unknown_args=True, add_help=False)
    default = settings.resolve("pretrain" if stage in UNTRAINED else stage, where.preset, where.smoke)
    options = _parse(f"skelmm {command} {stage}", f"{description} {stages[stage]}", kind, default, extra, rest)
    if command == "evaluate":
        comparison.check_protocol(options.settings.protocol)
    exp = experiment(options.where, dataclasses.asdict(options.settings), stage)
    if command != "train" and exp.fabric.world_size > 1:
        branches_of(exp, stage)  # trained together, if it has to be; the rest is work for one
        if not processes.part():
            return None
        exp = experiment(options.where, dataclasses.asdict(options.settings), stage)
    if command == "evaluate" and comparison.wanted(options):
        return _drawn(options, *comparison.run(exp, stage, lambda e: branches_of(e, stage), options, argv))
    return act(exp, stage, options, argv)


def _parse(prog: str, description: str, kind: Any, default: Evaluate, extra: list[tuple[Any, ...]], argv: list[str]) -> Any:
    """Options of a command line: `where`, `settings` (with the defaults of `default`), and the command's own."""
    fields: list[tuple[Any, ...]] = [*extra, ("where", OmitArgPrefixes[Where], dataclasses.field(default=Where())),
              ("settings", cast(Any, OmitArgPrefixes)[kind], dataclasses.field(default=default))]  # fmt: skip
    return tyro.cli(dataclasses.make_dataclass("Options", fields, frozen=True), prog=prog, description=description, args=argv)


def experiment(where: Where, overrides: dict[str, Any], stage: str = "pretrain") -> Experiment:
    exp = Experiment(where.data, where.out, where.preset, where.device, where.smoke, **overrides)
    exp.check(stage)
    return exp


def train(exp: Experiment, stage: str, options: Any, argv: Sequence[str]) -> None:
    trained = getattr(exp, stage)()
    last = trained.rows[-1]
    losses = ", ".join(f"{key.removeprefix('loss/')} {value:.3f}" for key, value in last.items() if key.startswith("loss/"))
    state = "found, finished before" if trained.found else f"{trained.seconds:.0f} s"
    print(f"{stage}: epoch {last['epoch']:.0f}, loss {last['loss']:.4f} ({losses}); {state}\n{trained.folder}")


def branches_of(exp: Experiment, stage: str) -> Branches:
    """The encoders that a stage gives: the teacher's query encoders, or the students."""
    if stage == "untrained":
        return exp.untrained()
    model = getattr(exp, stage)().model
    found: Branches = model.students if stage == "distill" else model.query
    return found


def evaluate(exp: Experiment, stage: str, options: Any, argv: Sequence[str]) -> None:
    _print_scores(exp, stage, branches_of(exp, stage), options.json)


def evaluate_file(argv: Sequence[str]) -> None:
    """`skelmm evaluate FILE.safetensors`: encoders that `export` wrote, on any data of their skeleton, or mapped to it (--transfer)."""
    from skelmm_core.export import check_skeleton, load

    if not processes.part():
        return None
    branches, about = load(argv[0])
    values = about["settings"]
    default = Evaluate(**{f.name: values[f.name] for f in dataclasses.fields(Evaluate) if f.name != "protocol" and f.name in values})
    description = f"Evaluate exported encoders ({about['role']})."
    options = _parse("skelmm evaluate FILE", description, Evaluate, default, [JSON, *comparison.OPTIONS], list(argv[1:]))
    comparison.check_protocol(options.settings.protocol)
    given = values | dataclasses.asdict(options.settings) | {"precision": "auto"}
    name = Path(argv[0]).name
    if comparison.wanted(options) and options.transfer:
        where = options.where
        exp = Experiment(options.transfer, where.out, where.preset, where.device, where.smoke, **given)
        return _drawn(options, *comparison.run(exp, name, lambda _: branches, options, argv, about["trained_on"] or "unknown"))
    exp = experiment(options.where, given)
    check_skeleton(argv[0], next(iter(branches.values())).skeleton, exp.train.skeleton)
    if comparison.wanted(options):
        return _drawn(options, *comparison.run(exp, name, lambda _: branches, options, argv))
    return _print_scores(exp, name, branches, options.json)


def _drawn(options: Any, file: Path, rows: Sequence[Row]) -> None:
    """What damage does to accuracy as a figure beside the table, where it was measured."""
    from skelmm_core.comparison import robustness

    curves = robustness.of_rows(row._asdict() for row in rows)
    if curves:
        from skelmm_core import drawing

        path = drawing.save(drawing.damage_curves(curves, title="test clips damaged"), file.with_suffix(".png"))
        if not options.json:
            print(path)


def scored(exp: Experiment, name: str, branches: Branches) -> dict[str, Any]:
    """What frozen encoders know beside what they must beat, what they cost and what may be wrong with them, as JSON can hold it."""
    from skelmm_core.evaluation import complexity
    from skelmm_core.evaluation.knn import raw_nearest

    features = exp.features(branches)
    scores = {name: exp.score(features).summary()}
    if name != "untrained":
        scores["untrained"] = exp.score(exp.untrained(branches.keys())).summary()
    raw = raw_nearest(exp.clips, exp.split).accuracy
    cost = complexity.measure(branches, len(exp.clips.class_names), exp.settings.frames, exp.train.joints.shape[-1])
    signs = _signs(exp, name, scores, exp.embeddings(branches))
    data = {"title": exp.clips.title, "content": exp.clips.content, "protocol": exp.split.name}
    told = {"data": data, "settings": dataclasses.asdict(exp.settings), "scores": scores, "raw_1nn": raw}
    return {**told, "cost": dataclasses.asdict(cost), "signs_of_failure": signs}


def _print_scores(exp: Experiment, name: str, branches: Branches, as_json: bool) -> None:
    told = scored(exp, name, branches)
    if as_json:
        print(json.dumps(told, indent=1))
        return
    scores, raw, cost, signs = told["scores"], told["raw_1nn"], told["cost"], told["signs_of_failure"]
    rows = [("percent of the test clips", "linear", f"{exp.settings.neighbours}-NN")]
    for title, found in scores.items():
        rows += [(f"{title}, fused ({found['fusion']})", f"{found['linear']:.1f}", f"{found['knn']:.1f}")]
        rows += [(f"  {stream}", f"{v['linear']:.1f}", f"{v['knn']:.1f}") for stream, v in found["streams"].items()]
    rows.append(("raw coordinates, 1-NN", "", f"{raw:.1f}"))
    width = max(len(row[0]) for row in rows)
    print(f"{exp.clips.title}, protocol {exp.split.name}: {len(exp.split.train)} clips train, {len(exp.split.test)} test")
    print("\n".join(f"{label:<{width}}  {linear:>6}  {near:>6}" for label, linear, near in rows))
    size = f"{cost['parameters'] / 1e6:.2f} million parameters, {cost['gflops']:.2f} GFLOP and {cost['milliseconds']:.1f} ms a clip"
    print(f"{name}: {size} ({next(branches.parameters()).device}, one clip at a time, one thread)")
    if name != "untrained":
        print("\n".join(f"sign of failure: {sign}" for sign in signs) or "no sign of failure among those looked for")


def _signs(exp: Experiment, name: str, scores: dict[str, Any], embeddings: dict[str, Tensor]) -> list[str]:
    """Of trained encoders against untrained ones, by linear probe and nearest neighbours, and of embeddings that collapsed."""
    if name == "untrained":
        return []
    own, untrained = scores[name], scores["untrained"]
    percent = {
        (who, kind): {s: v[kind] for s, v in found["streams"].items()} | {"fused": found[kind]}
        for who, found in (("own", own), ("untrained", untrained))
        for kind in ("linear", "knn")
    }
    return signs_of_failure(
        clips=own["clips"], probes=percent["own", "linear"], untrained=percent["untrained", "linear"],
        nearest=percent["own", "knn"], untrained_nearest=percent["untrained", "knn"], chance=exp.chance, embeddings=embeddings,
    )  # fmt: skip


def export(exp: Experiment, stage: str, options: Any, argv: Sequence[str]) -> None:
    from skelmm_core import files

    with files.alone(options.file, "exporting to"):  # else one process could write the weights and another the card
        _export(exp, stage, options, argv)


def _export(exp: Experiment, stage: str, options: Any, argv: Sequence[str]) -> None:
    from skelmm_core import export, files, frozen, model_card, onnx_file
    from skelmm_core.readout import WHOLE

    role, file, s = "student" if stage == "distill" else "teacher", options.file, exp.settings
    as_onnx = file.suffix == ".onnx"
    if as_onnx:  # all of this before anything is trained
        onnx_file.require()
        onnx_file.refuse_foreign(file)
        frozen.check(exp.train.skeleton)
        if options.classes and s.readout != WHOLE:
            told = f"--segments {s.segments}{' --regions' * s.regions} --levels {s.levels}"
            raise SettingsError(
                f"an .onnx file can't classify by parts of a clip or by levels ({told}): "
                "export with --segments 1 --no-regions --levels 1, or a .safetensors file"
            )
    else:
        files.refuse_foreign(file, export.FORMAT, CheckpointError)
        if file.suffix != ".safetensors":  # which is how other commands know such a file
            raise SettingsError(f"expected a file that ends in .safetensors or .onnx, found '{file.name}'")
    model_card.refuse_foreign(file)
    branches, names = branches_of(exp, stage), exp.clips.class_names if options.classes else ()
    weights, data, bodies = classifiers(exp, branches) if options.classes else None, facts(exp), exp.train.joints.shape[-1]
    shared: dict[str, Any] = dict(title=exp.clips.title, bodies=bodies, classifiers=weights, classes=names, data=data)
    results = scored(exp, stage, branches) if options.metrics else None
    with model_card.aside(file):
        if as_onnx:
            examples = _examples(exp, branches)
            print(f"making an ONNX graph of {len(branches)} encoders: some 10 s for each, or more", file=sys.stderr, flush=True)
            difference = onnx_file.save(file, branches, s, role, examples=examples, **shared)
            verified = f"onnxruntime differs by at most {difference:.0e} of the largest value on random numbers and {len(examples)} clips"
        else:
            export.save(file, branches, s, role, **shared)
            verified = "read back and compared"
    known = settings.narrow(s, stage)
    preset = dataclasses.asdict(settings.resolve(stage, exp.preset, exp.smoke))
    card = model_card.write(file, model_card.Facts(
        stage, role, tuple(branches), exp.train.skeleton, export.room(branches, bodies), names, data,
        exp.preset, exp.smoke,
        {name: value for name, value in dataclasses.asdict(known).items() if value != preset[name]},
        dataclasses.asdict(settings.narrow(s, "evaluate")), results, ["skelmm", "export", *argv],
    ))  # fmt: skip
    kinds = f"{role}, {', '.join(branches)}{f', {len(names)} classes' if names else ''}"
    print(f"{file}: {kinds}; {file.stat().st_size / 2**20:.1f} MiB, {verified}\n{card}: model card")


def facts(exp: Experiment) -> dict[str, Any]:
    """What exported files say about the data that their encoders were trained on."""
    keys = ("title", "content", "clips", "generated", "protocol", "train", "test")
    frames = float(np.median(exp.clips.frames[exp.split.train]))
    return {key: exp.facts()["data"][key] for key in keys} | {"frame_rate": exp.clips.frame_rate, "median_frames": frames}


def classifiers(exp: Experiment, branches: Branches) -> tuple[Tensor, Tensor]:
    """Those of the linear probe's headline figure, weight (S, F, classes) and bias (S, 1, classes), whitening inside."""
    from skelmm_core import export, memory
    from skelmm_core.evaluation import linear
    from skelmm_core.evaluation.features import stacked
    from skelmm_core.evaluation.whitening import whitened, whitening

    s, features = exp.settings, exp.labelled(branches)
    with memory.enough(f"linear classifiers at probe_batch={s.probe_batch}, probe_views={s.probe_views}", linear.lighter(s)):
        white = whitened(features, features, s.whiten_all, s.whiten_shrink)[0]
        found = linear.classifiers(white, exp.train.labels.cpu(), len(exp.clips.class_names), s)
    return export.behind(found, *whitening(stacked(features), s.whiten_all, s.whiten_shrink)) if s.whiten_all else found


def _examples(exp: Experiment, branches: Branches) -> list[tuple[np.ndarray, Tensor]]:
    """Test clips (M, T, V, 3) with their features (S, F), computed on the CPU, where float32 is float32."""
    from skelmm_core import batches, predicting
    from skelmm_core.evaluation.features import extract, stacked

    s, rows = exp.settings, exp.split.test[:EXAMPLES]
    some = batches.load(exp.clips, rows, s.frames, s.skeleton, s.view, smooth=s.smooth, trim=s.trim)
    features = stacked(extract(branches.cpu(), some, s.unit_axis)).transpose(0, 1)  # (N, S, F)
    raw = [predicting.on_joints(exp.clips.joints_of(i), exp.clips.skeleton, exp.train.skeleton) for i in rows]
    return list(zip(raw, features, strict=True))


def _described(text: str) -> Callable[[], None]:
    def command() -> None: ...

    command.__doc__ = text
    return command
