"""`skelmm train`, `evaluate` and `export`: one stage each, with the stage's settings as options.

The options are the fields of the settings class, their help the comments beside the fields, their defaults those of the preset that
the command line names: nothing is written a second time here.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro
from torch import Tensor
from tyro.conf import OmitArgPrefixes, Positional, arg

from skelmm_core import processes, settings, skeletons
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
_CLASSES = "into an .onnx file, linear classifiers, too: trained on frozen features of the training clips, as the linear probe's are"


@dataclass(frozen=True)
class Where:
    """Data and folders."""

    data: str = "sample"  # clips file, or "sample" for the built-in generated motion
    out: Path = Path("outputs/run")  # folder that stages are found in and written to
    preset: str = "quick"  # described (the paper's setting), published (its code's), small (hundreds of clips) or quick (minutes)
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
        return comparison.run(exp, stage, lambda e: branches_of(e, stage), options, argv)
    return act(exp, stage, options)


def _parse(prog: str, description: str, kind: type[Evaluate], default: Evaluate, extra: list[tuple], argv: list[str]) -> Any:
    """Options of a command line: `where`, `settings` (with the defaults of `default`), and the command's own."""
    fields = [*extra, ("where", OmitArgPrefixes[Where], dataclasses.field(default=Where())),
              ("settings", OmitArgPrefixes[kind], dataclasses.field(default=default))]  # fmt: skip
    return tyro.cli(dataclasses.make_dataclass("Options", fields, frozen=True), prog=prog, description=description, args=argv)


def experiment(where: Where, overrides: dict[str, Any], stage: str = "pretrain") -> Experiment:
    exp = Experiment(where.data, where.out, where.preset, where.device, where.smoke, **overrides)
    exp.check(stage)
    return exp


def train(exp: Experiment, stage: str, options: Any) -> None:
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
    return model.students if stage == "distill" else model.query


def evaluate(exp: Experiment, stage: str, options: Any) -> None:
    _print_scores(exp, stage, branches_of(exp, stage), options.json)


def evaluate_file(argv: Sequence[str]) -> None:
    """`skelmm evaluate FILE.safetensors`: encoders that `export` wrote, on any data of their skeleton, or mapped to it (--transfer)."""
    from skelmm_core.export import load

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
        return comparison.run(exp, name, lambda _: branches, options, argv, about["trained_on"] or "unknown")
    exp = experiment(options.where, given)
    made_for, found = next(iter(branches.values())).skeleton, exp.train.skeleton
    if made_for != found:
        advice = f"map the clips with --skeleton {made_for.name}, or " if made_for.name in skeletons.SKELETONS else ""
        raise CheckpointError(
            f"'{argv[0]}' was trained on skeleton '{made_for.name}' ({len(made_for)} joints), "
            f"the clips have '{found.name}' ({len(found)}); {advice}export encoders that were trained on '{found.name}'"
        )
    if comparison.wanted(options):
        return comparison.run(exp, name, lambda _: branches, options, argv)
    return _print_scores(exp, name, branches, options.json)


def _print_scores(exp: Experiment, name: str, branches: Branches, as_json: bool) -> None:
    from skelmm_core.evaluation import complexity
    from skelmm_core.evaluation.features import embeddings
    from skelmm_core.evaluation.knn import raw_nearest

    features = exp.features(branches)
    scores = {name: exp.score(features).summary()}
    if name != "untrained":
        scores["untrained"] = exp.score(exp.untrained(branches.keys())).summary()
    raw = raw_nearest(exp.clips, exp.split).accuracy
    cost = complexity.measure(branches, len(exp.clips.class_names), exp.settings.frames, exp.train.joints.shape[-1])
    signs = _signs(exp, name, scores, embeddings(branches, features[1]))
    if as_json:
        data = {"title": exp.clips.title, "content": exp.clips.content, "protocol": exp.split.name}
        told = {"data": data, "settings": dataclasses.asdict(exp.settings), "scores": scores, "raw_1nn": raw}
        print(json.dumps({**told, "cost": dataclasses.asdict(cost), "signs_of_failure": signs}, indent=1))
        return
    rows = [("percent of the test clips", "linear", f"{exp.settings.neighbours}-NN")]
    for title, found in scores.items():
        rows += [(f"{title}, fused ({found['fusion']})", f"{found['linear']:.1f}", f"{found['knn']:.1f}")]
        rows += [(f"  {stream}", f"{v['linear']:.1f}", f"{v['knn']:.1f}") for stream, v in found["streams"].items()]
    rows.append(("raw coordinates, 1-NN", "", f"{raw:.1f}"))
    width = max(len(row[0]) for row in rows)
    print(f"{exp.clips.title}, protocol {exp.split.name}: {len(exp.split.train)} clips train, {len(exp.split.test)} test")
    print("\n".join(f"{label:<{width}}  {linear:>6}  {near:>6}" for label, linear, near in rows))
    size = f"{cost.parameters / 1e6:.2f} million parameters, {cost.gflops:.2f} GFLOP and {cost.milliseconds:.1f} ms a clip"
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


def export(exp: Experiment, stage: str, options: Any) -> None:
    from skelmm_core.export import FORMAT, save
    from skelmm_core.files import refuse_foreign

    role = "student" if stage == "distill" else "teacher"
    if options.file.suffix == ".onnx":
        return _export_onnx(exp, stage, role, options.file, options.classes)
    if options.classes:
        raise SettingsError(f"--classes needs a file that ends in .onnx, found '{options.file}': a safetensors file holds encoders alone")
    refuse_foreign(options.file, FORMAT, CheckpointError)  # before anything is trained
    branches = branches_of(exp, stage)
    save(options.file, branches, exp.settings, role, exp.clips.title)
    print(f"{options.file}: {role}, {', '.join(branches)}; {options.file.stat().st_size / 2**20:.1f} MiB, read back and compared")
    return None


def _export_onnx(exp: Experiment, stage: str, role: str, file: Path, classes: bool) -> None:
    from skelmm_core import batches, export, frozen, onnx_file
    from skelmm_core.evaluation.features import extract, stacked

    onnx_file.require()  # all of this before anything is trained
    onnx_file.refuse_foreign(file)
    frozen.check(exp.train.skeleton)
    branches, s, rows = branches_of(exp, stage), exp.settings, exp.split.test[:EXAMPLES]
    names = exp.clips.class_names if classes else ()
    weights = export.classifiers(exp.features(branches)[0], exp.train.labels.cpu(), len(names), s) if classes else None
    some = batches.load(exp.clips, rows, s.frames, s.skeleton, s.view, smooth=s.smooth)  # on the CPU, where float32 is float32
    features = stacked(extract(branches.cpu(), some, s.unit_axis)).transpose(0, 1)  # (N, S, F)
    examples = list(zip(raw(exp, rows), features, strict=True))
    difference = onnx_file.save(file, branches, s, role, exp.clips.title, some.joints.shape[-1], examples, weights, names)
    size = f"{file.stat().st_size / 2**20:.1f} MiB"
    print(
        f"{file}: {role}, {', '.join(branches)}{f', {len(names)} classes' if classes else ''}; {size}, onnxruntime differs by at most "
        f"{difference:.0e} of the largest value on random numbers and {len(examples)} clips"
    )


def raw(exp: Experiment, rows: Sequence[int]) -> list[np.ndarray]:
    """Clips as they are in the file, (M, T, V, 3) metres, on the joints that the experiment works on."""
    weights = skeletons.mapping(exp.clips.skeleton, exp.train.skeleton)
    same = exp.clips.skeleton.joints == exp.train.skeleton.joints
    return [exp.clips.joints_of(i) if same else np.einsum("uv,mtvc->mtuc", weights, exp.clips.joints_of(i)) for i in rows]


def _described(text: str) -> Callable[[], None]:
    def command() -> None: ...

    command.__doc__ = text
    return command
