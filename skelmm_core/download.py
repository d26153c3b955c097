"""`skelmm download`: NTU RGB+D skeletons as OpenMMLab serves them, after their terms were accepted. The only place that opens a connection.

A download that breaks is kept as ``NAME.part`` and goes on from there. The publisher gives no checksum: the one that came with the first
download is written beside the file as ``NAME.sha256`` and holds from then on, unless one is given. One process at a time downloads a file.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from tqdm import tqdm
from tyro.conf import Positional, arg

from skelmm_core.errors import DataError, SettingsError, nearest
from skelmm_core.files import alone, read_json, replacing

BASE = "https://download.openmmlab.com/mmaction/pyskl/data/nturgbd"
TRIES, PAUSE = 5, 2.0  # times that a broken connection is taken up again in one call; seconds before the second, doubled every time
TIMEOUT = 30.0  # seconds without a byte
CHUNK = 1 << 16  # bytes; so many may be lost where a connection breaks


@dataclass(frozen=True)
class DataSet:
    """What is served where, and whose terms hold."""

    title: str
    url: str
    terms: str


_TERMS = (
    "NTU RGB+D belongs to the ROSE Lab of the Nanyang Technological University, Singapore, which gives it for academic research only, "
    "after a request: https://rose1.ntu.edu.sg/dataset/actionRecognition/. Whoever uses it cites {cite}. The file that is downloaded "
    "was made of it by OpenMMLab (PYSKL)."
)
DATA: dict[str, DataSet] = {
    "ntu60": DataSet("NTU RGB+D 60", f"{BASE}/ntu60_3danno.pkl", _TERMS.format(cite="Shahroudy et al., CVPR 2016")),
    "ntu120": DataSet(
        "NTU RGB+D 120", f"{BASE}/ntu120_3danno.pkl", _TERMS.format(cite="Shahroudy et al., CVPR 2016, and Liu et al., TPAMI 2019")
    ),
}


def command(
    name: Annotated[str, Positional, arg(metavar="ntu60|ntu120")],
    folder: Annotated[Path, Positional, arg(metavar="FOLDER")] = Path("."),
    accept_terms: bool = False,
    sha256: str = "",
) -> None:
    """Download NTU RGB+D 60 or 120 skeletons (a pickle of some 100 MB to 2 GB) from OpenMMLab, for `skelmm prepare`.

    A download that broke goes on where it stopped when the same command is given again.

    Args:
        name: ntu60 or ntu120.
        folder: where the file is put.
        accept_terms: you accept the terms of the data set, which are printed first; without it you are asked.
        sha256: checksum that the file must have; not given: that of the first download.
    """
    if name not in DATA:
        raise SettingsError(f"unknown data set '{name}'{nearest(name, DATA)}")
    data = DATA[name]
    print(f"{data.title}: {data.terms}")
    if not accept_terms:
        ask(data.title)
    path = fetch(data.url, Path(folder) / data.url.rpartition("/")[2], sha256)
    print(f"{path}: {path.stat().st_size} bytes, sha256 {recorded(path)}\nnext: skelmm prepare {path} {name}.clips")


def ask(title: str, read: Callable[[str], str] = input) -> None:
    """Ask whether the terms are accepted; anything but yes, and nobody to be asked, raises `SettingsError`."""
    if not sys.stdin or not sys.stdin.isatty():
        raise SettingsError(f"nothing was downloaded: say --accept-terms if you accept the terms of {title}")
    if read(f"Do you accept the terms of {title}? Type yes: ").strip().lower() not in ("y", "yes"):
        raise SettingsError(f"nothing was downloaded: the terms of {title} were not accepted")


def fetch(url: str, target: Path, sha256: str = "", pause: float = PAUSE) -> Path:
    """The file at `url` as `target`, whole and with the checksum `sha256`, or with that of ``TARGET.sha256`` if there is one.

    Raises `DataError` for a server that refuses, a connection that breaks `TRIES` times, a wrong length or checksum, another process that
    downloads the same file, and a disk that is read-only, full, or will be before the end; what has come so far is kept. A file that is
    there is never written over.
    """
    if sha256 and not re.fullmatch("[0-9a-fA-F]{64}", sha256):
        raise SettingsError(f"a sha256 is 64 hexadecimal digits, found '{sha256[:80]}'")
    part = target.with_name(f"{target.name}.part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with alone(target, "downloading"):
            return _fetched(url, target, part, sha256.lower() or recorded(target), pause)
    except OSError as problem:
        raise DataError(
            f"can't write '{target}': {problem.strerror or problem}; what had come is kept in '{part.name}'; free some space, or choose "
            "another folder, and give the same command again"
        ) from problem


def _fetched(url: str, target: Path, part: Path, expected: str, pause: float) -> Path:
    import pooch

    if target.exists():
        found = pooch.file_hash(str(target), alg="sha256")
        if expected and found != expected:
            raise DataError(f"'{target}' is there with the sha256 {found}, expected {expected}; move it away, or give its own checksum")
        _record(target, found)
        return target
    _download(url, part, pause)
    found = pooch.file_hash(str(part), alg="sha256")
    if expected and found != expected:
        part.unlink()
        _notes(part).unlink(missing_ok=True)
        raise DataError(f"'{url}' came with the sha256 {found}, expected {expected}; it was thrown away: is the checksum of this file?")
    os.replace(part, target)
    _notes(part).unlink(missing_ok=True)
    _record(target, found)
    return target


def recorded(path: Path) -> str:
    """The checksum beside a file; "" where there is none."""
    try:
        return path.with_name(f"{path.name}.sha256").read_text().split()[0].lower()
    except (OSError, IndexError):
        return ""


def _record(path: Path, sha256: str) -> None:
    with replacing(path.with_name(f"{path.name}.sha256")) as file:
        file.write(f"{sha256}  {path.name}\n".encode())


def _notes(part: Path) -> Path:
    return part.with_name(f"{part.name}.json")


def _download(url: str, part: Path, pause: float) -> None:
    """Bring `part` to the whole length, going on from what is there as long as the server's file is the same."""
    import requests

    broken = (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError)
    for attempt in range(TRIES):
        try:
            if _go_on(url, part):
                return
            problem: Exception | str = "the connection ended early"
        except broken as found:
            problem = found
        except requests.RequestException as found:
            raise DataError(f"can't download '{url}': {found}") from found
        if attempt < TRIES - 1:
            print(f"connection to {url} broke ({str(problem)[:100]}); going on in {pause * 2**attempt:g} s", file=sys.stderr, flush=True)
            time.sleep(pause * 2**attempt)
    there = part.stat().st_size if part.exists() else 0
    raise DataError(
        f"can't download '{url}': {str(problem)[:200]}; {there} bytes are kept in '{part}', and the same command goes on from there"
    )


def _go_on(url: str, part: Path) -> bool:
    """One request; whether all has come."""
    import requests

    size, known = part.stat().st_size if part.exists() else 0, _state(part)
    headers = {"Accept-Encoding": "identity"}  # lengths are those of the file itself
    if size and known.get("url") == url and known.get("mark"):
        headers |= {"Range": f"bytes={size}-", "If-Range": known["mark"]}
    with requests.get(url, headers=headers, stream=True, timeout=TIMEOUT) as answer:
        if answer.status_code == 416 and size == known.get("length"):
            return True
        if answer.status_code not in (200, 206):
            if answer.status_code == 416:
                part.unlink()
                return False
            raise DataError(f"can't download '{url}': the server answered {answer.status_code} {answer.reason}")
        begin = size if answer.status_code == 206 else 0
        if begin and not answer.headers.get("Content-Range", "").startswith(f"bytes {begin}-"):
            part.unlink()  # another part than was asked for: begin anew
            return False
        if answer.headers.get("Content-Type", "").startswith("text/html"):
            raise DataError(f"can't download '{url}': the server sent a web page, not the file; open the address in a browser to see why")
        length = answer.headers.get("Content-Length", "")
        if not length.isdecimal() and answer.headers.get("Transfer-Encoding") != "chunked":
            raise DataError(
                f"can't download '{url}': the server does not say how long the file is, so a cut could not be told from its end"
            )
        total = begin + int(length) if length.isdecimal() else None
        _room(url, part.parent, (total or 0) - size)
        strong = answer.headers.get("ETag", "W/")
        mark = answer.headers.get("Last-Modified", "") if strong.startswith("W/") else strong  # a weak mark can't vouch for bytes
        with replacing(_notes(part)) as file:
            file.write(json.dumps({"url": url, "mark": mark, "length": total}).encode())
        bar = tqdm(total=total, initial=begin, desc=part.name.removesuffix(".part"), unit="B", unit_scale=True, mininterval=1, disable=None)
        told = time.monotonic()
        with bar, open(part, "r+b" if begin else "wb") as file:
            file.seek(begin)
            for piece in answer.iter_content(CHUNK):
                file.write(piece)
                bar.update(len(piece))
                if bar.disable and time.monotonic() - told > 20:
                    told = time.monotonic()
                    print(f"{bar.desc}: {file.tell() >> 20} of {(total or 0) >> 20} MiB", file=sys.stderr, flush=True)
            there = file.tell()
            file.flush()
            os.fsync(file.fileno())
    return total is None or there == total


def _room(url: str, folder: Path, wanted: int) -> None:
    """Raises `DataError` where the disk has no room for so many bytes more."""
    free = shutil.disk_usage(folder).free
    if wanted > free:
        raise DataError(
            f"can't download '{url}': {wanted / 2**20:.1f} MiB are still to come, and the disk of '{folder}' has {free / 2**20:.1f}: "
            "free some space, or choose another folder, and give the same command again"
        )


def _state(part: Path) -> dict[str, Any]:
    return read_json(_notes(part)) or {}
