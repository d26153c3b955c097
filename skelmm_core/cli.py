"""skelmm: self-supervised, multi-modality, skeleton-based action recognition, from raw skeletons to a distilled student.

Files of clips are made by `sample` and `prepare`, shown by `info`, their skeletons by `skeleton`; `run` executes the notebooks,
`verify` repeats and compares, `ablate` runs the grid of ablations, `sweep` one of your own; `train`, `evaluate` and `export` do single
stages. Each command has its own --help.
"""

from __future__ import annotations

import dataclasses
import errno
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import Annotated

import tyro
from tyro.conf import Positional, UseAppendAction, arg

from skelmm_core.download import command as download
from skelmm_core.errors import SettingsError, SkelmmError
from skelmm_core.launch import launched

Named = Annotated[tuple[str, ...], arg(name="parameter", aliases=("-p",), metavar="NAME=VALUE"), UseAppendAction]


def sample(
    path: Annotated[Path, Positional, arg(metavar="CLIPS")],
    ntu: bool = False,
    performers: int = 12,
    repetitions: int = 2,
    cameras: int = 3,
    seed: int = 0,
    actions: str = "",
) -> None:
    """Write the built-in sample, which is generated motion, as a clips file.

    Args:
        path: clips file to write, e.g. sample.clips; with --ntu the folder to make.
        ntu: write a folder of NTU RGB+D .skeleton files instead.
        performers: persons, 1 to 999, each with a body, tempo, style and handedness of their own.
        repetitions: times that each person does each action, 1 to 999.
        cameras: views of each performance, 1 to 3.
        seed: whole number; another one gives other people, performances and cameras.
        actions: comma-separated names of actions; empty: all.
    """
    from skelmm_core.sources import sample as generated

    chosen = [name.strip() for name in actions.split(",")] if actions else None
    source = generated.read(performers=performers, repetitions=repetitions, cameras=cameras, seed=seed, actions=chosen)
    if ntu:
        from skelmm_core.sources.ntu_writer import write_ntu

        print(f"{path}: {write_ntu(path, source, progress=sys.stderr.isatty())} .skeleton files")
    else:
        from skelmm_core import clips

        print(clips.write(path, source))


def prepare(
    paths: Annotated[tuple[Path, ...], Positional, arg(metavar="SOURCE [SOURCE ...] CLIPS")],
    format: str = "auto",
    options: Named = (),
    protocol: str = "",
    strict: bool = False,
    jobs: int = 0,
) -> None:
    """Read skeleton data of a known format and write them as a clips file, with a report of what was found and left out: printed, and
    beside the clips file as .report.json and .report.html.

    Damaged recordings are left out and named. An interrupted run goes on where it stopped when the same command is given again.

    Args:
        paths: SOURCE is a file, archive (zip or tar, never unpacked to the disk) or folder of a known format, and may be several of NTU
            RGB+D; CLIPS, the last, is the clips file to write.
        format: name of a format; auto looks at the content.
        options: an option of the format's reader, e.g. -p incomplete=list.txt or -p bodies=tracked (ntu); may be repeated.
        protocol: the file's own train/test split, by name or expression, in place of the format's, e.g. cross-view.
        strict: stop at the first damaged recording.
        jobs: processes that read; 0: all cores as soon as it pays.
    """
    from skelmm_core import audit, protocols, sources
    from skelmm_core import clips as files
    from skelmm_core.parameters import pairs

    if len(paths) < 2:
        raise SettingsError(f"prepare takes SOURCE and CLIPS, what to read and what to write; found only '{' '.join(map(str, paths))}'")
    *source, clips = paths
    found = sources.read(source, format, **pairs(options))
    found = dataclasses.replace(found, protocol=protocol or found.protocol)
    if found.protocol:
        protocols.check_words(found.protocol)
    written = files.write(clips, found, strict=strict, jobs=jobs)
    if written.resumed:
        print(f"went on from an interrupted run, which had written {written.resumed} of the clips")
    print(audit.keep(clips, written))


def info(clips: Annotated[Path, Positional, arg(metavar="CLIPS")], protocol: str = "") -> None:
    """Show what a clips file holds: counts, classes, subjects, views, lengths, and how protocols would divide it.

    Args:
        clips: clips file.
        protocol: a name or an expression over the columns, e.g. "subject % 2 == 1"; empty: the file's own and all known ones.
    """
    from skelmm_core.clips import open_clips
    from skelmm_core.summary import summary

    print(summary(open_clips(clips), protocol))


def run(
    data: str = "sample",
    out: Path = Path("outputs/run"),
    notebooks: str = "",
    parameters: Named = (),
    jobs: int = 1,
    preset: str = "quick",
    seed: Annotated[int | None, arg(metavar="INT")] = None,
    device: str = "auto",
    smoke: bool = False,
) -> None:
    """Run the notebooks by papermill, skip those done before with the same of everything, and end with a table and report.html.

    Args:
        data: clips file, or "sample" for the built-in generated motion.
        out: folder for executed notebooks, figures, metrics, checkpoints, manifest.json and report.html.
        notebooks: comma-separated numbers or names, e.g. 02,03; empty: all.
        parameters: a parameter for every chosen notebook that has it, e.g. -p epochs=8; may be repeated.
        jobs: notebooks at a time; 02 to 06 build on each other and run in order, so it is 00 and 01 that run beside them.
        preset: described (the paper's setting), published (its code's), small (hundreds of clips), best (of those), or quick (minutes).
        seed: decides all random draws; not given: 0.
        device: auto, cpu, cuda or cuda:N.
        smoke: toy sizes, seconds per stage, to see that everything runs.
    """
    from skelmm_core import pipeline
    from skelmm_core.parameters import pairs

    chosen = [word.strip() for word in notebooks.split(",") if word.strip()]
    results = pipeline.run(chosen, data, out, pairs(parameters), jobs, smoke, preset, seed, device)
    print(pipeline.table(results))


def verify(run: Annotated[Path, Positional, arg(metavar="RUN")], keep: bool = False) -> None:
    """Repeat a run from its manifest in a folder beside it and compare every figure, times apart; exit code 1 where one differs.

    Args:
        run: output folder of `run`; or the folder of one stage in it, stages/NAME, whose weights, queues and log are compared: quicker.
        keep: leave the repetition there also when all is the same.
    """
    from skelmm_core.verify import verify

    try:
        verdict = verify(run, keep)
    except KeyboardInterrupt:  # `main` would promise to go on
        print(f"skelmm: interrupted; nothing of '{run}' was changed, and the same command begins the repetition anew", file=sys.stderr)
        sys.exit(130)
    print(verdict)
    if verdict.differences:
        sys.exit(1)


def report(
    runs: Annotated[tuple[Path, ...], Positional, arg(metavar="RUN [RUN ...]")],
    out: str = "",
    device: str = "auto",
) -> None:
    """Compare finished runs, or look into one: figures, classes, confusions and the clips on which they disagree, as one HTML page.

    Nothing is trained: each run's last stage (a student if there is one, else the teacher) is loaded by its manifest and scored.

    Args:
        runs: output folders of `run` or `train`; or folders of single stages in them, stages/NAME.
        out: HTML file to write; empty: comparison.html in the first RUN.
        device: auto, cpu, cuda or cuda:N.
    """
    from skelmm_core.side_by_side import command

    print(command.report(runs, out, device))


def predict(
    model: Annotated[Path, Positional, arg(metavar="MODEL")],
    clips: Annotated[Path, Positional, arg(metavar="CLIPS")],
    out: str = "",
    top: int = 3,
    part: str = "all",
    protocol: str = "",
    skeleton: str = "",
    stream: int = 0,
    hop: int = 0,
    format: str = "auto",
) -> None:
    """Name the class of every clip, by a file that `export --classes` wrote, and how many agree with the clips' labels; on the CPU.

    Args:
        model: .safetensors or .onnx file with classes.
        clips: clips file, or data of any format that `prepare` reads.
        out: CSV file to write, a line per clip; empty: lines are printed.
        top: classes per clip, the most probable first.
        part: all, train or test: which part of the protocol's split.
        protocol: the split; empty: the one the model was trained with if these are the same clips, else their file's own.
        skeleton: name of a skeleton to map the clips to; empty: as the model's settings say.
        stream: play the clips as live frames and predict by the last so many of them, with latency; 0: whole clips.
        hop: frames from one prediction of a stream to the next; 0: a quarter of the window.
        format: of data that are no clips file; auto looks at the content.
    """
    from skelmm_core import predict_command

    print(predict_command.predict(model, clips, out, top, part, protocol, skeleton, stream, hop, format))


def ablate(
    groups: Annotated[tuple[str, ...], Positional, arg(metavar="GROUP")] = (),
    data: str = "sample",
    out: Path = Path("outputs/run"),
    preset: str = "small",
    seeds: str = "0,1,2",
    parameters: Named = (),
    rows: Annotated[tuple[str, ...], arg(name="row", metavar="NAME"), UseAppendAction] = (),
    shard: str = "",
    csv: str = "",
    device: str = "auto",
    smoke: bool = False,
    short: bool = False,
    dry_run: bool = False,
) -> None:
    """Run the grid of ablations (exchange, modalities, distillation, switches): say what is there, compute what is missing, write a table.

    Several processes, or machines that share OUT, may run the same command at once: each takes what nobody else works on. Where OUT is not
    shared give each machine its --shard, gather the files of their OUT/ablations in one folder, and give the command once more. A run that
    was stopped goes on with the same command.

    Args:
        groups: exchange, modalities, distillation or switches; none: all.
        data: clips file, or "sample" for the built-in generated motion.
        out: folder for stages, a small file per finished cell, and the table.
        preset: described (the paper's setting), published (its code's), small (hundreds of clips), best (of those), or quick (minutes).
        seeds: comma-separated; three or more, so that differences can be told from luck.
        parameters: a setting other than the preset's, e.g. -p epochs=60; may be repeated.
        rows: only the rows of this name, as --dry-run lists it after the colon, or that match one such as "*, 6"; may be repeated.
        shard: a part of the grid, e.g. 2/4, in which cells that share a first stage stay together.
        csv: the table, one row per cell and seed; empty: OUT/ablations.csv.
        device: auto, cpu, cuda or cuda:N.
        smoke: toy sizes, to see that everything runs.
        short: the part of the grid and the sizes that notebook 06 shows.
        dry_run: list the cells with the time to expect, and compute nothing.
    """
    from skelmm_core.ablation import command

    print(command.ablate(groups, data, out, preset, seeds, parameters, rows, shard, csv, device, smoke, short, dry_run))


def sweep(
    grid: Annotated[Path, Positional, arg(metavar="GRID.toml")] = Path("grid.toml"),
    engine: str = "local",
    jobs: int = 0,
    status: bool = False,
    retry: bool = False,
    dry_run: bool = False,
    wait: bool = True,
    example: bool = False,
) -> None:
    """Run a grid of stages or notebooks, every combination at every seed, as independent jobs: what is missing, then OUT/sweep.csv.

    A stage that several jobs build on is trained once, before them. A job that fails keeps its log, OUT/sweep/JOB/log.txt, and the others
    go on. A sweep that was stopped goes on with the same command, from the checkpoints.

    Args:
        grid: TOML file; --example prints one with all its keys.
        engine: local (processes of this machine, each with a GPU of its own where there are any) or slurm (arrays of jobs on a cluster;
            needs pip install skelmm[slurm]).
        jobs: of --engine local, at a time; 0: one per GPU, else one.
        status: show what each job has come to, and run nothing.
        retry: run those again that failed, too.
        dry_run: list the jobs, and run nothing.
        wait: of --engine slurm, stay until all jobs have ended; else give the command again for the table.
        example: print a grid file.
    """
    from skelmm_core.sweep import command

    print(command.example() if example else command.sweep(grid, engine, jobs, status, retry, dry_run, wait))


def skeleton(
    name: Annotated[str, Positional, arg(metavar="NAME|FILE.toml")],
    clips: str = "",
    figure: str = "",
) -> None:
    """Check a skeleton and show its joints, bones, sides and maps; draw it, if wanted.

    Args:
        name: a built-in skeleton (ntu25, kinect20, coco17, openpose18, hdm05), or a TOML file with one of your own.
        clips: clips file whose median pose is compared and drawn; else a standing figure.
        figure: PNG file to draw into.
    """
    from skelmm_core import skeleton_command

    print(skeleton_command.show(name, clips, figure))


def gallery(
    out: Path = Path("outputs/gallery"),
    run: Path = Path("outputs/run"),
    preset: str = "quick",
    parameters: Named = (),
    device: str = "auto",
    smoke: bool = False,
) -> None:
    """Make the pictures that the README shows, from the built-in sample: clips, the six modalities, a GIF, maps, curves, mistakes, a page.

    Args:
        out: folder for the pictures.
        run: output folder of `run` on the built-in sample; stages 1 and 2 are trained there where they are not there.
        preset: described (the paper's setting), published (its code's), small (hundreds of clips), best (of those), or quick (minutes).
        parameters: a setting other than the preset's, e.g. -p epochs=8; may be repeated.
        device: auto, cpu, cuda or cuda:N.
        smoke: toy sizes, seconds per stage, to see that everything runs.
    """
    from skelmm_core import gallery

    print("\n".join(map(str, gallery.gallery(out, run, preset, device, smoke, parameters))))


COMMANDS: dict[str, Callable[..., None]] = {
    "sample": sample, "download": download, "prepare": prepare, "info": info, "skeleton": skeleton, "run": run, "ablate": ablate,
    "sweep": sweep, "verify": verify, "report": report, "predict": predict, "gallery": gallery,
}  # fmt: skip
STAGED = {  # commands of a stage, whose options are that stage's settings; see `stage_commands`
    "train": "Train one stage (pretrain, exchange or distill), with the stages that it builds on; goes on where it was interrupted.",
    "evaluate": "Print what frozen encoders know (linear probe, nearest neighbours), beside untrained ones and raw coordinates: those of a "
    "stage, trained first where it is not there, or of a FILE.safetensors that `export` wrote (skelmm evaluate FILE --data CLIPS). With "
    "--measure by any of the field's protocols, as one table with references.",
    "export": "Write a stage's encoders, trained first where they are not there, as one file with their settings: "
    "skelmm export STAGE FILE.safetensors.",
}


def main(argv: Sequence[str] | None = None) -> None:
    """Entry point. Errors of input or environment: one message on stderr, exit code 2; an interrupt: 130."""
    argv = list(sys.argv[1:] if argv is None else argv)
    who = "skelmm"
    try:
        found = launched()
        if found.count > 1:
            who = f"skelmm (process {found.number + 1} of {found.count})"
            if argv[:1] and argv[0] not in STAGED:
                raise SettingsError(f"'{argv[0]}' is work for one process; torchrun and srun start several for {', '.join(STAGED)}")
        with open(os.devnull, "w") as nowhere, redirect_stdout(nowhere if found.number else sys.stdout):  # the first one speaks
            _command(argv)
        sys.stdout.flush()
    except SkelmmError as problem:
        sys.stderr.write(f"{who}: {problem}\n")  # at once: several processes may have something to say
        sys.exit(2)
    except OSError as problem:
        if problem.errno != errno.ENAMETOOLONG:  # which every look at a file can raise; others are told where they arise
            raise
        sys.stderr.write(f"{who}: '{str(problem.filename)[:60]}…' can't be the name of a file: {problem.strerror}; give a shorter one\n")
        sys.exit(2)
    except KeyboardInterrupt:
        print("skelmm: interrupted; what was finished is kept, and the same command goes on from there", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:  # the reader of our output has gone, as in `skelmm info x.clips | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)


def _command(argv: list[str]) -> None:
    if argv == ["--version"]:
        from skelmm_core import manifest

        print(f"skelmm {manifest.code()}")  # version and a digest of the code
    elif argv[:1] and argv[0] in STAGED:
        from skelmm_core import stage_commands

        stage_commands.main(argv[0], STAGED[argv[0]], argv[1:])
    else:
        staged = {name: _described(text) for name, text in STAGED.items()}
        tyro.extras.subcommand_cli_from_dict(COMMANDS | staged, prog="skelmm", description=__doc__, args=argv)


def _described(text: str) -> Callable[[], None]:
    """A stand-in that gives a subcommand its line in the list."""

    def command() -> None: ...

    command.__doc__ = text
    return command
