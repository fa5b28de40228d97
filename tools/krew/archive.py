"""The archive: wheels, unpacked, and the launcher. The same input makes the same bytes, so that its sha256 can be checked."""

import gzip
import hashlib
import os
import platform
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

from tools import check_wheel

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
BIN = "kubectl-csitrace"

ARCHITECTURES = {"amd64": "x86_64", "arm64": "aarch64"}
"""krew's name to Python's."""

_GLIBC = (
    "manylinux2014",
    "manylinux_2_17",
    "manylinux_2_24",
    "manylinux_2_26",
    "manylinux_2_27",
    "manylinux_2_28",
)
"""The platforms whose wheels run where glibc is 2.28 or later."""


def this_architecture() -> str:
    """krew's name of this machine's."""
    return next(name for name, machine in ARCHITECTURES.items() if machine == platform.machine())


def build(destination: Path, version: str, pythons: list[str], architecture: str) -> Path:
    """Make the archive below `destination`, for these Python versions (`3.11`)."""
    with tempfile.TemporaryDirectory(prefix="csitrace-krew-") as directory:
        wheel = check_wheel.build(Path(directory))
        content = Path(directory) / "content"
        for python in pythons:
            wheels = Path(directory) / f"wheels-{python}"
            download(wheel, wheels, python, architecture)
            for path in sorted(wheels.glob("*.whl")):
                unpack(path, content / "lib", python)
        (content / BIN).write_bytes((HERE / "launcher.py").read_bytes())
        (content / BIN).chmod(0o755)
        (content / "LICENSE").write_bytes((ROOT / "LICENSE").read_bytes())
        destination.mkdir(parents=True, exist_ok=True)
        return pack(content, destination / f"{BIN}-v{version}-linux-{architecture}.tar.gz")


def download(wheel: Path, directory: Path, python: str, architecture: str) -> None:
    """csitrace and all that it needs, as wheels for one Python version."""
    platforms = [f"--platform={name}_{ARCHITECTURES[architecture]}" for name in _GLIBC]
    check_wheel.run(
        sys.executable, "-m", "pip", "download", "-q", "--only-binary=:all:", "--implementation=cp",
        f"--python-version={python}", *platforms, "-c", str(ROOT / "constraints.txt"), "-d", str(directory), str(wheel),
    )  # fmt: skip


def unpack(wheel: Path, libraries: Path, python: str) -> None:
    """Into the directory of all that may load it. The tags are the last parts of a wheel's name."""
    _, abi, target = wheel.stem.rsplit("-", 2)
    where = "any" if target == "any" else "abi3" if abi == "abi3" else f"cp{python.replace('.', '')}"
    (libraries / f"cp{python.replace('.', '')}").mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(wheel) as content:
        content.extractall(libraries / where)


def pack(content: Path, archive: Path) -> Path:
    """A .tar.gz of all below `content`: sorted, of nobody, of no time, so that it depends on the content alone."""

    def anonymous(member: tarfile.TarInfo) -> tarfile.TarInfo:
        member.uid = member.gid = 0
        member.uname = member.gname = ""
        member.mtime = 0
        member.mode = 0o755 if member.isdir() or member.mode & 0o100 else 0o644
        return member

    with (
        archive.open("wb") as raw,
        gzip.GzipFile("", "wb", fileobj=raw, mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as tar,
    ):
        for path in sorted(content.rglob("*")):
            if not path.is_dir() and "__pycache__" not in path.parts:
                tar.add(path, str(path.relative_to(content)), filter=anonymous)
    return archive


def sha256(archive: Path) -> str:
    return hashlib.sha256(archive.read_bytes()).hexdigest()


def check(archive: Path, version: str) -> None:
    """Install it as krew does (unpack, link) and run it on a machine with nothing but a Python."""
    with tempfile.TemporaryDirectory(prefix="csitrace-krew-") as directory:
        store, bin_directory = Path(directory) / "store", Path(directory) / "bin"
        with tarfile.open(archive) as tar:
            tar.extractall(store, filter="data")
        bin_directory.mkdir()
        (bin_directory / BIN).symlink_to(store / BIN)
        python = Path(os.path.realpath(sys.executable))
        (bin_directory / "python3").symlink_to(python)
        environment = {"PATH": f"{bin_directory}:/usr/bin:/bin", "HOME": directory}
        for arguments, expected in (
            (["--help"], "usage: kubectl csitrace"),
            (["--version"], f"csitrace {version}"),
            (["watch", "--help"], "usage: kubectl csitrace watch"),
            (["__complete", "watch", "-o", "w"], "wide"),
        ):
            done = subprocess.run(
                [str(bin_directory / BIN), *arguments],
                env=environment,
                cwd="/",
                capture_output=True,
                text=True,
            )
            if done.returncode != 0 or expected not in done.stdout:
                raise SystemExit(f"{BIN} {' '.join(arguments)}: {done.stdout}{done.stderr}")
        # Everything that a watch imports is there; without a kubeconfig it ends with one line.
        done = subprocess.run(
            [str(bin_directory / BIN), "watch"], env=environment, cwd="/", capture_output=True, text=True
        )
        if done.returncode != 2 or "no kubeconfig" not in done.stderr:
            raise SystemExit(f"{BIN} watch: {done.stdout}{done.stderr}")
