"""Downloads from a server on this machine: whole, broken and taken up again, changed, refused, with a wrong checksum."""

from __future__ import annotations

import hashlib
import io
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from skelmm_core import cli, download
from skelmm_core.errors import DataError, SettingsError

CONTENT = bytes(range(256)) * 4000  # 1 MB


@dataclass
class Site:
    """What the server does: `broken` answers end after so many bytes, one after the other; then all comes."""

    content: bytes = CONTENT
    mark: str = '"one"'
    broken: list[int] = field(default_factory=list)
    ranges: bool = True
    status: int = 0
    length: bool = True
    shift: int = 0
    kind: str = "application/octet-stream"
    asked: list[str | None] = field(default_factory=list)
    goes_on: threading.Event | None = None
    url: str = ""


@pytest.fixture
def site(monkeypatch) -> Iterator[Site]:
    monkeypatch.setattr(download, "CHUNK", 10_000)
    here = Site()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            wanted = self.headers.get("Range")
            here.asked.append(wanted)
            if here.goes_on:
                here.goes_on.wait(30)
            if here.status:
                self.send_error(here.status)
                return
            begin = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted else 0
            if not here.ranges or self.headers.get("If-Range") != here.mark:
                begin = 0
            if begin >= len(here.content):
                self.send_error(416)
                return
            self.send_response(206 if begin else 200)
            if here.length:
                self.send_header("Content-Length", str(len(here.content) - begin))
            if begin:
                self.send_header("Content-Range", f"bytes {begin + here.shift}-{len(here.content) - 1}/{len(here.content)}")
            self.send_header("Content-Type", here.kind)
            if here.mark:
                self.send_header("ETag", here.mark)
            self.end_headers()
            rest = here.content[begin:]
            self.wfile.write(rest[: here.broken.pop(0)] if here.broken else rest)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    here.url = f"http://127.0.0.1:{server.server_port}/data.pkl"
    yield here
    server.shutdown()
    server.server_close()


def names(folder) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


def test_whole_file_with_its_checksum_beside_it(site, tmp_path):
    target = download.fetch(site.url, tmp_path / "new" / "data.pkl")
    assert target.read_bytes() == CONTENT and names(target.parent) == ["data.pkl", "data.pkl.sha256"]
    assert download.recorded(target) == hashlib.sha256(CONTENT).hexdigest()
    assert download.fetch(site.url, target) == target and len(site.asked) == 1  # it is there: nothing is asked again


def test_broken_connection_goes_on_where_it_stopped(site, tmp_path, capsys):
    site.broken = [300_000, 200_000]
    download.fetch(site.url, tmp_path / "data.pkl", pause=0)
    assert (tmp_path / "data.pkl").read_bytes() == CONTENT
    first, second, third = site.asked
    assert first is None and second == "bytes=300000-" and third == "bytes=500000-"
    assert "going on" in capsys.readouterr().err


def test_a_later_call_goes_on_too(site, tmp_path):
    site.broken = [100_000] * download.TRIES
    with pytest.raises(DataError, match=r"500000 bytes are kept in .*data.pkl.part'.*same command goes on"):
        download.fetch(site.url, tmp_path / "data.pkl", pause=0)
    assert not (tmp_path / "data.pkl").exists()
    download.fetch(site.url, tmp_path / "data.pkl", pause=0)
    assert site.asked[-1] == "bytes=500000-" and (tmp_path / "data.pkl").read_bytes() == CONTENT
    assert names(tmp_path) == ["data.pkl", "data.pkl.sha256"]


@pytest.mark.parametrize("change", ["content", "no ranges", "no mark"])
def test_what_can_not_be_continued_begins_anew(site, tmp_path, change):
    site.broken = [100_000] * download.TRIES
    if change == "no mark":
        site.mark = ""
    with pytest.raises(DataError):
        download.fetch(site.url, tmp_path / "data.pkl", pause=0)
    if change == "content":
        site.content, site.mark = CONTENT[::-1], '"two"'
    site.ranges = change != "no ranges"
    download.fetch(site.url, tmp_path / "data.pkl", pause=0)
    assert (tmp_path / "data.pkl").read_bytes() == site.content


def test_wrong_checksum_is_thrown_away_and_a_file_that_is_there_is_kept(site, tmp_path):
    with pytest.raises(DataError, match="expected 00000"):
        download.fetch(site.url, tmp_path / "data.pkl", sha256="0" * 64)
    assert not (tmp_path / "data.pkl").exists() and not (tmp_path / "data.pkl.part").exists()
    download.fetch(site.url, tmp_path / "data.pkl", sha256=hashlib.sha256(CONTENT).hexdigest().upper())
    (tmp_path / "data.pkl").write_bytes(b"changed")
    with pytest.raises(DataError, match="is there with the sha256"):
        download.fetch(site.url, tmp_path / "data.pkl")
    assert (tmp_path / "data.pkl").read_bytes() == b"changed"


@pytest.mark.parametrize("status", [404, 403, 500])
def test_refusal_is_told_at_once(site, tmp_path, status):
    site.status = status
    with pytest.raises(DataError, match=f"answered {status}"):
        download.fetch(site.url, tmp_path / "data.pkl", pause=0)
    assert len(site.asked) == 1 and names(tmp_path) == []


def test_answers_that_are_not_the_file(site, tmp_path):
    with pytest.raises(SettingsError, match="64 hexadecimal digits, found 'abc'"):
        download.fetch(site.url, tmp_path / "data.pkl", sha256="abc")
    site.kind = "text/html; charset=utf-8"
    with pytest.raises(DataError, match="sent a web page, not the file"):
        download.fetch(site.url, tmp_path / "data.pkl", pause=0)
    site.kind, site.length = "application/octet-stream", False
    with pytest.raises(DataError, match="does not say how long the file is"):
        download.fetch(site.url, tmp_path / "data.pkl", pause=0)
    assert names(tmp_path) == []


def test_another_part_than_was_asked_for_is_not_put_behind(site, tmp_path):
    site.broken, site.shift = [100_000], 7
    download.fetch(site.url, tmp_path / "data.pkl", pause=0)
    assert (tmp_path / "data.pkl").read_bytes() == CONTENT and site.asked == [None, "bytes=100000-", None]


def test_nobody_answers(tmp_path):
    with pytest.raises(DataError, match="can't download 'http://127.0.0.1:9/x'"):
        download.fetch("http://127.0.0.1:9/x", tmp_path / "x", pause=0)
    with pytest.raises(DataError, match="can't download"):
        download.fetch("nothing://x", tmp_path / "x", pause=0)


def test_full_disk(site, tmp_path, monkeypatch):
    calls = []

    def full(*_):
        calls.append(1)
        if len(calls) > 1:  # the first is that of the small file of notes
            raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(DataError, match="No space left on device.*data.pkl.part.*free some space"):
        download.fetch(site.url, tmp_path / "data.pkl", pause=0)
    assert not (tmp_path / "data.pkl").exists()


def test_two_at_once_do_not_write_the_same_file(site, tmp_path):
    site.goes_on = threading.Event()
    code = f"from pathlib import Path; from skelmm_core import download; download.fetch({site.url!r}, Path('data.pkl'))"
    with subprocess.Popen([sys.executable, "-c", code], cwd=tmp_path, stderr=subprocess.PIPE, text=True) as first:
        try:
            while not site.asked and first.poll() is None:
                time.sleep(0.01)
            assert ".data.pkl.lock" in names(tmp_path)
            with pytest.raises(DataError, match="another process is downloading '.*data.pkl'; wait until it is done"):
                download.fetch(site.url, tmp_path / "data.pkl", pause=0)
            assert len(site.asked) == 1
        finally:
            site.goes_on.set()
        assert "Error" not in first.communicate(timeout=30)[1] and first.returncode == 0
    assert (tmp_path / "data.pkl").read_bytes() == CONTENT and names(tmp_path) == ["data.pkl", "data.pkl.sha256"]
    assert download.fetch(site.url, tmp_path / "data.pkl") and len(site.asked) == 1


def test_a_killed_download_holds_up_nobody(site, tmp_path):
    site.goes_on = threading.Event()
    code = f"from pathlib import Path; from skelmm_core import download; download.fetch({site.url!r}, Path('data.pkl'))"
    with subprocess.Popen([sys.executable, "-c", code], cwd=tmp_path) as first:
        while not site.asked and first.poll() is None:
            time.sleep(0.01)
        first.kill()
    site.goes_on.set()
    assert ".data.pkl.lock" in names(tmp_path)
    assert download.fetch(site.url, tmp_path / "data.pkl", pause=0).read_bytes() == CONTENT


def test_room_on_the_disk_is_looked_for_before_anything_is_written(site, tmp_path, monkeypatch):
    room = [len(CONTENT) - 1]
    monkeypatch.setattr(download.shutil, "disk_usage", lambda folder: type("Usage", (), {"free": room[0]}))
    with pytest.raises(DataError, match="1.0 MiB are still to come, and the disk of '.*' has 1.0: free some space"):
        download.fetch(site.url, tmp_path / "data.pkl", pause=0)
    assert names(tmp_path) == [] and len(site.asked) == 1
    room[0] += 1
    site.broken = [300_000] * download.TRIES
    site.ranges = False  # what comes last takes the place of what came first
    with pytest.raises(DataError, match="300000 bytes are kept"):
        download.fetch(site.url, tmp_path / "data.pkl", pause=0)
    site.ranges, room[0] = True, len(CONTENT) - 300_001
    with pytest.raises(DataError, match="still to come"):
        download.fetch(site.url, tmp_path / "data.pkl", pause=0)
    assert (tmp_path / "data.pkl.part").stat().st_size == 300_000
    room[0] += 1
    assert download.fetch(site.url, tmp_path / "data.pkl", pause=0).read_bytes() == CONTENT
    assert site.asked[-1] == "bytes=300000-"


def test_terms_are_shown_and_must_be_accepted(site, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(download, "DATA", {"ntu60": download.DataSet("NTU RGB+D 60", site.url, download.DATA["ntu60"].terms)})
    monkeypatch.setattr(sys, "stdin", io.StringIO("yes\n"))  # no terminal
    with pytest.raises(SystemExit):
        cli.main(["download", "ntu60", str(tmp_path)])
    said = capsys.readouterr()
    assert "ROSE Lab" in said.out and "academic research only" in said.out and "--accept-terms" in said.err and not site.asked
    cli.main(["download", "ntu60", str(tmp_path), "--accept-terms"])
    assert (tmp_path / "data.pkl").read_bytes() == CONTENT and "skelmm prepare" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        cli.main(["download", "ntu61", str(tmp_path)])
    assert "did you mean 'ntu60'" in capsys.readouterr().err


def test_answers_to_the_question(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr(sys, "stdin", Terminal())
    download.ask("x", lambda _: " Yes ")
    with pytest.raises(SettingsError, match="not accepted"):
        download.ask("x", lambda _: "")


def test_nothing_else_loads_what_could_open_a_connection():
    modules = "skelmm_core.cli, skelmm_core.clips, skelmm_core.sources, skelmm_core.pipeline"
    code = f"import sys, {modules}; print('requests' in sys.modules, 'pooch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]
