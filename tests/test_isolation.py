"""No network at run time, nothing in a file is executed, and JupyterLab is on this machine alone."""

from __future__ import annotations

import ast
import json
import os
import re
import shlex
import subprocess
import sys
import time
import urllib.error
import urllib.request
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from toy_stage import ENVIRONMENT, ROOT, heard  # noqa: F401 - fixtures

from skelmm_core import checkpoints, verify
from skelmm_core.errors import CheckpointError

pytestmark = pytest.mark.faults
LONG = "SKELMM_FAULTS" in os.environ


GUARD = """
import os, sys

def refuse(event, args):
    address = None
    if event in ("socket.connect", "socket.sendto", "socket.sendmsg", "socket.bind"):
        address = args[1]
    elif event in ("socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr"):
        address = (args[0],)
    elif event == "socket.getnameinfo":
        address = args[0]
    if isinstance(address, tuple) and not str(address[0] or "").startswith(("127.", "::1", "localhost", "b'localhost")) and address[0]:
        with open(os.environ["GUARD"], "a") as file:
            file.write(f"refused {event} {address}\\n")
        raise OSError("refused: only this machine may be talked to")

sys.addaudithook(refuse)
with open(os.environ["GUARD"], "a") as file:
    file.write(f"guarded {os.getpid()}\\n")
"""


@pytest.fixture
def guarded(tmp_path) -> dict[str, str]:
    """An environment in which all Python processes refuse to talk to other machines, and note that they were asked to."""
    (tmp_path / "guard").mkdir()
    (tmp_path / "guard" / "sitecustomize.py").write_text(GUARD)
    return {**ENVIRONMENT, "PYTHONPATH": f"{tmp_path / 'guard'}{os.pathsep}{ROOT}", "GUARD": str(tmp_path / "guard.log")}


def test_the_guard_refuses(guarded):
    program = """
import socket
one, far = socket.socket(socket.AF_INET, socket.SOCK_DGRAM), ("192.0.2.1", 9)
for ask in (
    lambda: socket.create_connection(far), lambda: one.sendto(b"", far), lambda: one.sendmsg([b"x"], [], 0, far),
    lambda: socket.getaddrinfo("example.org", 80), lambda: socket.gethostbyname("example.org"),
    lambda: socket.gethostbyaddr("192.0.2.1"), lambda: socket.getnameinfo(far, 0),
):
    try:
        ask()
    except OSError as problem:
        print(problem)
"""
    done = subprocess.run([sys.executable, "-c", program], env=guarded, capture_output=True, text=True, timeout=60)
    assert done.stdout.count("refused: only this machine") == 7, done
    assert Path(guarded["GUARD"]).read_text().count("refused") >= 7


def test_a_run_needs_no_network_and_is_verified(guarded, tmp_path):
    """`skelmm run`, then `skelmm verify` of it, both with all other machines out of reach; the manifest's ids are where they should be."""
    out, chosen = tmp_path / "run", [] if LONG else ["--notebooks", "02", "-p", "modalities=joint,bone"]
    command = [sys.executable, "-m", "skelmm_core"]
    done = subprocess.run([*command, "run", "--smoke", "--device", "cpu", "--out", str(out), *chosen], env=guarded, capture_output=True,
                          text=True, timeout=600)  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    lines = Path(guarded["GUARD"]).read_text().splitlines()
    assert sum(line.startswith("guarded") for line in lines) >= 3, "the command, papermill's process and the kernel"
    assert not [line for line in lines if line.startswith("refused")]
    told, page = json.loads((out / "manifest.json").read_text()), (out / "report.html").read_text()
    assert told["id"] in page and told["notebooks"]
    for name, entry in told["notebooks"].items():
        own = json.loads((out / name / "manifest.json").read_text())["id"]
        assert own == entry["manifest"] == json.loads((out / name / "metrics.json").read_text())["run"]["manifest"]
        assert f"manifest {own}" in (out / f"{name}.ipynb").read_text() and own in page
    again = subprocess.run([*command, "verify", str(out)], env=guarded, capture_output=True, text=True, timeout=600)
    assert again.returncode == 0 and "the same again" in again.stdout, again.stdout + again.stderr[-2000:]
    (metrics, *_) = out.glob("0*/metrics.json")
    values = json.loads(metrics.read_text())
    values["headline"][next(iter(values["headline"]))] = 99.5
    assert list(verify.differing(json.loads(metrics.read_text()), values)) and not Path(guarded["GUARD"]).read_text().count("refused")


def test_nothing_in_a_checkpoint_is_executed(tmp_path):
    class Evil:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "executed"),)

    torch.save({"format": 1, "model": Evil()}, tmp_path / "last.pt")
    with pytest.raises(CheckpointError, match="can't be read as a checkpoint"):
        checkpoints.load(tmp_path / "last.pt")
    assert not (tmp_path / "executed").exists()


def test_every_load_in_the_package_is_a_safe_one():
    """torch.load with weights_only, numpy.load without pickles, no pickle, eval or exec: in the syntax tree of every file."""
    wrong, seen = [], 0
    for path in sorted((ROOT / "skelmm_core").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call):
                name, given = ast.unparse(node.func), {k.arg: ast.unparse(k.value) for k in node.keywords}
                seen += name == "torch.load"
                if (
                    name in ("pickle.load", "pickle.loads", "joblib.load", "eval", "exec", "yaml.load", "marshal.loads")
                    or (name == "torch.load" and given.get("weights_only") != "True")
                    or (name in ("np.load", "numpy.load") and given.get("allow_pickle", "False") != "False")
                ):
                    wrong.append(f"{path.name}:{node.lineno} {name}")
    assert seen and not wrong


def waited_for(address: str) -> str:
    """A page of a server that is about to listen."""
    for _ in range(100):
        try:
            with urllib.request.urlopen(address, timeout=20) as page:
                return page.read().decode()
        except urllib.error.URLError as problem:
            if isinstance(problem, urllib.error.HTTPError):
                raise
            time.sleep(0.2)
    pytest.fail(f"nobody listens at {address}")


def test_jupyterlab_is_on_this_machine_alone_and_asks_for_its_token(tmp_path):
    if find_spec("jupyterlab") is None:
        pytest.skip("JupyterLab is not installed")
    (line,) = re.findall(r"^\t.*\$\(BIN\)/jupyter (lab .*?) \$\(ARGS\)$", (ROOT / "Makefile").read_text(), re.M)
    words = [sys.executable, "-m", "jupyterlab", *shlex.split(line)[1:], "--no-browser", "--allow-root", "--ServerApp.port=0"]
    where = {f"JUPYTER_{kind}_DIR": str(tmp_path / kind) for kind in ("CONFIG", "RUNTIME", "DATA")}
    process = subprocess.Popen(words, cwd=ROOT, env={**ENVIRONMENT, **where}, stderr=subprocess.PIPE, text=True)
    try:
        said = ""
        while not (found := re.search(r"http://(\S+?):(\d+)/lab\S*?\?token=(\w{20,})", said)):
            piece = process.stderr.readline()
            assert piece, said
            said += piece
        assert found[1] in ("127.0.0.1", "localhost") and "0.0.0.0" not in said
        said += waited_for(f"http://127.0.0.1:{found[2]}/api/contents?token={found[3]}")
        with pytest.raises(urllib.error.HTTPError, match="403"):
            urllib.request.urlopen(f"http://127.0.0.1:{found[2]}/api/contents", timeout=20)
    finally:
        process.terminate()
        process.communicate(timeout=30)
