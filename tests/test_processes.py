"""Several processes that train together: two of them, connected by gloo, must give what one with the joined batch gives."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import types
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from lightning_fabric import Fabric

from skelmm_core import checkpoints, encoder, processes, settings
from skelmm_core.batches import Batches
from skelmm_core.distillation import IN_BATCH
from skelmm_core.errors import DataError, SettingsError, SkelmmError, TrainingError
from skelmm_core.experiment import Experiment, make_fabric
from skelmm_core.launch import Launch, launched
from skelmm_core.norm import Norm2d, joined
from skelmm_core.skeletons import KINECT20
from skelmm_core.stages.contrast import Contrast
from skelmm_core.stages.distill import Distillation
from skelmm_core.stages.loop import Loop

SIZES = dict(modalities="joint,bone", students="joint", hidden=4, features=16, embedding=8, frames=16, queue=64, batch=8, epochs=3,
             student_epochs=3, dropout=0.0, initialisation="scaled", precision="32-true")  # fmt: skip
RUNS = {  # name -> what it changes in the settings, how the model is called
    "pretrain": ({}, {}),
    "pretrain, present bodies": ({"bodies": "present"}, {}),
    "exchange": ({}, {"exchange": "ekem+ikem"}),
    "distill": ({}, {}),
    "distill, teacher in train mode, present bodies": ({"teacher_mode": "train", "bodies": "present"}, {}),
}
CLOSE = dict(rtol=1e-5, atol=1e-5)


def clips() -> Batches:
    """Clips of one person or two: one batch of eight an epoch, four of them to a process, with different numbers of bodies."""
    rng = torch.Generator().manual_seed(0)
    joints = torch.randn(11, 3, 16, 20, 2, generator=rng).cumsum(2) * 0.05
    joints[torch.rand(11, generator=rng) < 0.5, ..., 1] = 0
    return Batches(joints, torch.full((11,), 16), torch.arange(11) % 4, torch.arange(11), KINECT20)


def smooth(model: torch.nn.Module) -> None:
    """Softplus for ReLU, at whose kink gradients jump with an activation's last digit, and weights with them, by 1e-3 in three steps."""
    for layers in [m for m in model.modules() if isinstance(m, torch.nn.Sequential)]:
        for i, layer in enumerate(layers):
            if isinstance(layer, torch.nn.ReLU):
                layers[i] = torch.nn.Softplus()


SMOOTH = types.SimpleNamespace(**{**vars(F), "relu": lambda x, inplace=False: x.copy_(F.softplus(x.clone()))})  # in place, as asked


@pytest.fixture
def one(monkeypatch) -> Fabric:
    """One process."""
    monkeypatch.setattr(encoder, "F", SMOOTH)
    return make_fabric("cpu", "32-true")


def loop(name: str, folder: Path, fabric: Fabric, rows: list, stop: int | None = None, **more) -> Loop:
    changes, call = RUNS[name]
    s = settings.resolve("distill", "described", smoke=True, **{**SIZES, **changes, **more})
    model = Contrast(s, KINECT20)
    if name.startswith("distill"):
        model = Distillation(s, KINECT20, model.query)
    smooth(model)
    return Loop(fabric, model, s, clips(), folder / name, name, s.epochs, stop=stop, call=call, save_every=0, on_step=rows.append)


def ran(name: str, folder: Path, fabric: Fabric, **kwargs) -> dict:
    """A run's steps (in the first process), epochs, state, and momenta."""
    steps: list[dict] = []
    running = loop(name, folder, fabric, steps, **kwargs)
    seeds, forward = [], running.model.forward

    def noted(*args, **kwargs):
        seeds.append(torch.initial_seed())
        return forward(*args, **kwargs)

    running.model.forward = noted
    rows = running.run()
    return {"steps": steps, "rows": rows, "state": running.model.state_dict(), "seeds": seeds}


ROWS = (3, 5)  # of the first process and the second


def numbers(dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
    """Activations (B, C, T, V) far from 0, and a gradient for them."""
    rng = torch.Generator().manual_seed(0)
    x = torch.randn(sum(ROWS), 6, 4, 5, generator=rng) + 3 * torch.arange(6).view(6, 1, 1)
    return tuple(v.to(dtype).contiguous(memory_format=torch.channels_last) for v in (x, torch.randn(x.shape, generator=rng)))


def normalised(dtype: torch.dtype, number: int) -> dict[str, torch.Tensor]:
    x, grad = (part.split(ROWS)[number] for part in numbers(dtype))
    norm = Norm2d(6)
    x.requires_grad_()
    with joined(norm, 2):
        y = norm(x)
    y.backward(grad)
    assert not norm.joined and y.dtype == x.grad.dtype == dtype
    return {**norm.state_dict(), "y": y.detach(), "x": x.grad, "weight": norm.weight.grad, "bias": norm.bias.grad}


def refused(kind: type[SkelmmError], work, *args) -> str:
    with pytest.raises(kind) as caught:
        work(*args)
    return str(caught.value)


def work(folder: Path) -> None:
    """What each of two processes does for the tests below."""
    torch.set_num_threads(1)
    encoder.F = SMOOTH
    fabric = make_fabric("cpu", "32-true")
    number = fabric.global_rank
    told = {name: ran(name, folder / "two", fabric) for name in RUNS}
    told["two, then one"] = ran("exchange", folder / "two, then one", fabric, stop=1)
    told["one, then two"] = ran("exchange", folder / "one, then two", fabric)

    told["norm"] = {str(dtype): normalised(dtype, number) for dtype in (torch.float32, torch.bfloat16)}

    ill = loop("pretrain", folder / "ill", fabric, [])
    losses = ill.model._loss
    ill.model._loss = lambda *args: losses(*args) * torch.tensor([1, float("nan") if number == 1 else 1])
    odd = loop("pretrain", folder / "odd", fabric, [], batch=7)
    few = loop("pretrain", folder / "few", fabric, [], batch=64)
    few.batches = few.batches.select(torch.arange(9))

    def fails() -> None:
        raise DataError(f"seen by {number}")

    told["refused"] = [
        refused(TrainingError, ill.run),
        refused(SettingsError, odd.run),
        refused(SettingsError, few.run),
        refused(DataError, processes.first_makes, fabric, fails),
        refused(SettingsError, processes.same, fabric, f"digest {number}", "settings and data"),
    ]
    processes.same(fabric, "digest", "settings and data")
    told["made"] = processes.first_makes(fabric, lambda: number)
    told["device"] = refused(SettingsError, make_fabric, "cuda:1", "32-true")
    told["goes on"] = processes.part(), launched().count, make_fabric("cpu", "32-true").world_size
    torch.save(told, folder / f"{number}.pt")


def by_srun(*command: str) -> list[tuple[int, str, str]]:
    """Exit code, output and errors of a command in two processes, started as srun starts them on one machine."""
    port = free_port()
    running = [
        subprocess.Popen([sys.executable, *command], env=srun(number, port), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for number in range(2)
    ]
    try:
        told = [process.communicate(timeout=300) for process in running]
    finally:
        for process in running:
            process.kill()  # one that waits for another would wait for half an hour
    return [(process.returncode, *texts) for process, texts in zip(running, told, strict=True)]


def srun(number: int, port: int) -> dict[str, str]:
    """The environment that it leaves, with an address, which it would take from its list of machines."""
    return plain() | {
        "SLURM_STEP_NUM_TASKS": "2", "SLURM_NTASKS": "2", "SLURM_NTASKS_PER_NODE": "2", "SLURM_NNODES": "1", "SLURM_NODEID": "0",
        "SLURM_PROCID": str(number), "SLURM_LOCALID": str(number), "SLURM_JOB_ID": "1", "SLURM_JOB_NAME": "train",
        "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port),
    }  # fmt: skip


def plain() -> dict[str, str]:
    started = ("SLURM_", "TORCHELASTIC_", "RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_")
    return {k: v for k, v in os.environ.items() if not k.startswith(started)} | {"OMP_NUM_THREADS": "1"}


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("processes")


@pytest.fixture(scope="module")
def two(folder) -> list[dict]:
    """What two processes tell of their runs."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(encoder, "F", SMOOTH)
        ran("exchange", folder / "one, then two", make_fabric("cpu", "32-true"), stop=1)
    done = by_srun(__file__, str(folder))
    assert [code for code, *_ in done] == [0, 0], done[0][2][-4000:] + done[1][2][-4000:]
    return [torch.load(folder / f"{number}.pt", weights_only=True) for number in range(2)]


@pytest.mark.parametrize("name", RUNS)
def test_two_processes_give_the_losses_and_weights_of_one(name, one, two, folder):
    first, second = two[0][name], two[1][name]
    wanted = ran(name, folder / "one", one)
    assert len(wanted["steps"]) == 3 and not second["steps"]
    for step, expected in zip(first["steps"], wanted["steps"], strict=True):
        assert step == pytest.approx(expected, rel=1e-5, abs=1e-5)
    for found in (first, second):
        same_rows(found["rows"], wanted["rows"])
        torch.testing.assert_close(found["state"], wanted["state"], **CLOSE)
    torch.testing.assert_close(second["state"], first["state"], rtol=0, atol=0)
    start = loop(name, folder, one, []).model.state_dict()
    learns = "students.joint.head.2.weight" if name.startswith("distill") else "query.joint.head.2.weight"
    assert (wanted["state"][learns] - start[learns]).abs().max() > 1e-3
    saved = [checkpoints.load(folder / count / name / "last.pt") for count in ("one", "two")]
    assert saved[0]["model"].keys() == saved[1]["model"].keys() and saved[0]["momentum"].keys() == saved[1]["momentum"].keys()
    torch.testing.assert_close(saved[1]["momentum"], saved[0]["momentum"], **CLOSE)


def same_rows(rows: list[dict], wanted: list[dict], close: float = 1e-5) -> None:
    for row, expected in zip(rows, wanted, strict=True):
        assert row == pytest.approx({**expected, "seconds": row["seconds"]}, rel=close, abs=close)


@pytest.mark.parametrize(("dtype", "close"), [(torch.float32, 1e-5), (torch.bfloat16, 1e-2)])
def test_statistics_are_those_of_all_rows_however_many_each_process_has(dtype, close, two):
    x, grad = (part.double() for part in numbers(dtype))
    norm = torch.nn.BatchNorm2d(6).double()
    y = norm(x.requires_grad_())
    y.backward(grad)
    first, second = (told["norm"][str(dtype)] for told in two)
    for key, wanted in (("y", y.detach()), ("x", x.grad)):
        torch.testing.assert_close(torch.cat([first[key], second[key]]).double(), wanted, rtol=close, atol=close)
    for key, wanted in (("weight", norm.weight.grad), ("bias", norm.bias.grad)):
        torch.testing.assert_close((first[key] + second[key]).double(), wanted, rtol=1e-5, atol=1e-4)
    for found in (first, second):
        for key in ("running_mean", "running_var"):
            torch.testing.assert_close(found[key].double(), norm.state_dict()[key], rtol=1e-5, atol=1e-5)
        assert found["num_batches_tracked"] == 1


@pytest.mark.parametrize("name", RUNS)
def test_all_keys_of_a_batch_enter_the_queues_of_all_processes(name, two):
    first, second = two[0][name]["state"], two[1][name]["state"]
    queues = [k for k in first if k.endswith(("queue.data", "queues.data"))]
    assert len(queues) == (2 if name.startswith("distill") else 1)
    for key in queues:
        assert torch.equal(first[key], second[key])
        assert first[key.replace("data", "pointer")] == 3 * 8
        assert len(first[key][..., : 3 * 8].flatten(0, 1).unique(dim=1).T) == 3 * 8


@pytest.mark.parametrize("order", ["two, then one", "one, then two"])
def test_a_run_goes_on_with_another_number_of_processes(order, one, two, folder):
    whole = checkpoints.load(folder / "two" / "exchange" / "last.pt")
    if order == "two, then one":
        parts = ran("exchange", folder / order, one)
    else:
        parts = two[0][order]
        torch.testing.assert_close(two[1][order]["state"], parts["state"], rtol=0, atol=0)
    assert [row["epoch"] for row in parts["steps"]] == [1, 2] and len(parts["rows"]) == 3
    same_rows(parts["rows"], whole["rows"])
    torch.testing.assert_close(parts["state"], whole["model"], **CLOSE)


def test_dropout_is_drawn_anew_in_each_process(one, two, folder):
    first, second = (told["pretrain"]["seeds"] for told in two)
    assert first == ran("pretrain", folder / "alone", one)["seeds"] and len(set(first + second)) == 6


def test_what_one_process_fails_at_ends_all(two, folder):
    assert two[0]["refused"] == two[1]["refused"]
    ill, odd, few, failed, other = two[0]["refused"]
    assert ill.startswith("pretrain: the loss of bone is not finite at epoch 1, step 1")
    assert "2 processes share each batch evenly, but batch=7 gives 3.50 clips to each" in odd and "e.g. 6" in odd
    assert "batch=64 (there are only 9 clips) gives 4.50" in few
    assert failed == "seen by 0"
    assert "process 2 of 2 has others than the first" in other
    assert [told["made"] for told in two] == [0, 0]
    assert "device 'cuda:1' is one for 2 processes" in two[0]["device"]
    assert [told["goes on"] for told in two] == [(True, 1, 1), (False, 1, 1)]


def test_the_first_process_alone_writes(two, folder):
    for name in RUNS:
        there = sorted(p.name for p in (folder / "two" / name).iterdir())
        assert there == ["last.before.pt", "last.pt", "log.csv", "tensorboard"]
        assert len(list((folder / "two" / name / "tensorboard").iterdir())) == 1


STAGE = [
    "--smoke",
    "--device",
    "cpu",
    "--modalities",
    "joint,bone",
    "--batch",
    "16",
    "--frames",
    "8",
    "--probe-epochs",
    "1",
    "--lr",
    "1e-4",
]


def test_stages_by_command_under_torchrun_and_srun(tmp_path):
    out = ["--out", str(tmp_path / "two")]
    started = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "skelmm_core"]
    done = subprocess.run([*started, "train", "exchange", *STAGE, *out], env=plain(), capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-4000:]
    assert done.stdout.count("exchange: epoch 2, loss") == 1
    assert done.stderr.count("exchange 2 modalities: epoch 2/2") == 1
    (code, told, errors), (silent_code, silent, _) = by_srun(
        "-m", "skelmm_core", "evaluate", "distill", *STAGE, "--students", "joint", *out
    )
    assert (code, silent_code) == (0, 0), errors
    assert "distill, fused" in told and silent == ""

    (data,) = (tmp_path / "two" / "clips").glob("*.clips")
    exp = Experiment(data, tmp_path / "one", "quick", "cpu", True, modalities="joint,bone", students="joint", batch=16, frames=8, lr=1e-4)
    trained = exp.distill()
    for stage in ("pretrain", "exchange", "distill"):
        (one,), (two,) = ((tmp_path / count / "stages").glob(f"{stage}-*") for count in ("one", "two"))
        assert one.name == two.name
        rows = [checkpoints.load(path / "last.pt")["rows"] for path in (two, one)]
        same_rows(*rows, close=1e-4)  # of ReLUs
    state = checkpoints.load(two / "last.pt")["model"]
    assert state.keys() == trained.model.state_dict().keys()


def test_commands_for_one_process_say_so(tmp_path):
    for number, (code, _, errors) in enumerate(by_srun("-m", "skelmm_core", "info", str(tmp_path))):
        assert code == 2 and f"skelmm (process {number + 1} of 2): 'info' is work for one process" in errors


def test_what_the_environment_tells(monkeypatch):
    for name in list(os.environ):
        if name.startswith("SLURM_") or name in ("TORCHELASTIC_RUN_ID", "RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE"):
            monkeypatch.delenv(name)
    assert launched() == Launch(0, 1, 1)
    monkeypatch.setenv("SLURM_NTASKS", "4")  # in a batch script, outside srun
    assert launched() == Launch(0, 1, 1)
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "4")
    with pytest.raises(SettingsError, match="give --ntasks-per-node"):
        launched()
    monkeypatch.setenv("SLURM_PROCID", "3")
    monkeypatch.setenv("SLURM_NTASKS_PER_NODE", "2")
    assert launched()[:3] == (3, 4, 2)
    monkeypatch.setenv("SLURM_NTASKS_PER_NODE", "3")
    with pytest.raises(SettingsError, match="4 processes were started, 3 of them on this machine"):
        launched()
    for name, value in {"TORCHELASTIC_RUN_ID": "x", "RANK": "5", "WORLD_SIZE": "8", "LOCAL_WORLD_SIZE": "4"}.items():
        monkeypatch.setenv(name, value)
    assert launched()[:3] == (5, 8, 4)  # torchrun under srun
    monkeypatch.setenv("WORLD_SIZE", "1")
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "1")
    assert launched() == Launch(0, 1, 1)


if __name__ == "__main__":
    work(Path(sys.argv[1]))


@pytest.mark.parametrize("name", IN_BATCH)
def test_losses_that_compare_the_clips_of_a_batch_are_refused_for_several_processes(name, tmp_path):
    exp = Experiment(out=tmp_path, smoke=True, device="cpu", distillation=name)
    exp.fabric = types.SimpleNamespace(world_size=2)
    with pytest.raises(SettingsError, match=f"distillation={name} compares the clips"):
        exp.distill()
