"""Build the container image of this project: the reference driver, its FUSE pods and `csitrace agent` in one.

    python -m tools.image          # build what is missing; prints the image's name and the path of its archive

Three layers, each kept in `${XDG_CACHE_HOME:-~/.cache}/csitrace/image` under a key of what it was made from: Debian packages
(mmdebstrap), Python packages at the versions of constraints.txt, and this project. No docker and no registry of images is
needed; root is, for the chroot in which pyfuse3 is compiled. driver_ref/deploy/Dockerfile makes the same for your own registry.
"""

import argparse
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import tomllib
import zipfile
from collections.abc import Callable
from pathlib import Path

from tools import oci

ROOT = Path(__file__).resolve().parent.parent

NAME = "localhost/csitrace"
SUITE, PYTHON = "bookworm", "3.11"
"""The Debian release, and the Python that it brings."""

DEBIAN = ("ca-certificates", "libfuse3-3", "libstdc++6", "mount", "python3")
"""What runs: the FUSE library and umount(8), the library of gRPC, Python."""

BUILD_DEBIAN = ("gcc", "libc6-dev", "libfuse3-dev", "pkg-config", "python3-dev", "python3-pip")
BUILD_PYTHON = ("cython==3.3.1", "setuptools==84.2.1", "setuptools-scm==10.3.4")
"""What compiles pyfuse3, which comes as source; none of it gets into the image."""

COMPILED = "pyfuse3"
SITE = f"usr/local/lib/python{PYTHON}/dist-packages"

CONFIG = {
    "Env": ["PATH=/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin", "LANG=C.UTF-8", "PYTHONUNBUFFERED=1"],
    "Entrypoint": ["csitrace"],
}

_GLIBC = range(36, 4, -1)
_LEFT_OUT = ("usr/share/doc", "usr/share/man", "usr/share/locale", "usr/share/info", "usr/share/lintian")


class ImageError(Exception):
    """The image cannot be built; the text says why and what to do."""


def build(announce: Callable[[str], None]) -> tuple[str, Path]:
    """The image's name and its archive (`oci.write_archive`), built unless the cache has it. Raises ImageError."""
    cache = _cache()
    with tempfile.TemporaryDirectory(prefix="csitrace-image-") as temporary:
        scratch = Path(temporary)
        project = _wheel(scratch)
        layers = [
            _layer("debian", _debian, [SUITE, *DEBIAN, *_LEFT_OUT], announce),
            _layer(
                "python", _python, [SUITE, PYTHON, *BUILD_DEBIAN, *BUILD_PYTHON, *_requirements()], announce
            ),
        ]
        top = scratch / "project.tar"
        _project(top, project)
        key = _key([*(layer.name for layer in layers), _file_key(top), repr(CONFIG)])
        version = project.name.split("-")[1]
        name, archive = f"{NAME}:{version}-{key}", cache / f"csitrace-{version}-{key}.tar"
        if not archive.exists():
            announce(f"packing {name}")
            for old in cache.glob("csitrace-*.tar"):
                if old.stat().st_mtime < top.stat().st_mtime - _KEPT_SECONDS:
                    old.unlink()
            oci.write_archive(scratch / archive.name, [oci.Image(name, [*layers, top], CONFIG)])
            _keep(scratch / archive.name, archive)
    return name, archive


_KEPT_SECONDS = 6 * 3600
"""How long the archives of other versions of the project stay, for whoever is just using them."""


def _debian(path: Path) -> None:
    """The packages and what they need, without apt, documentation and device files."""
    _mmdebstrap(
        [
            "--variant=essential",
            f"--include={','.join(DEBIAN)}",
            *(f"--dpkgopt=path-exclude=/{directory}/*" for directory in _LEFT_OUT),
            "--skip=output/dev",
            "--format=tar",
        ],
        path,
    )


def _python(path: Path) -> None:
    """The dependencies, with their byte code: root file systems are read-only, so nobody could write it later."""
    with tempfile.TemporaryDirectory(prefix="csitrace-wheels-") as temporary:
        wheels = Path(temporary)
        arguments = [f"--dest={wheels}", f"--constraint={ROOT / 'constraints.txt'}"]
        foreign = [
            "--only-binary=:all:",
            f"--python-version={PYTHON}",
            "--implementation=cp",
            *(f"--platform=manylinux_2_{minor}_{os.uname().machine}" for minor in _GLIBC),
            f"--platform=manylinux2014_{os.uname().machine}",
        ]
        compiled = [one for one in _requirements() if _project_name(one) == COMPILED]
        binary = [one for one in _requirements() if one not in compiled]
        _pip("download", *arguments, *foreign, *binary)
        _pip("download", f"--dest={wheels}", *foreign, *BUILD_PYTHON)
        pinned = re.search(rf"^{COMPILED}==\S+", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
        _pip(
            "download",
            f"--dest={wheels}",
            "--no-deps",
            f"--no-binary={COMPILED}",
            pinned[0] if pinned else COMPILED,
        )
        (wheels / "requirements").write_text("\n".join(_requirements()))
        install = (
            f"python3 -m pip install --quiet --no-index --find-links=/wheels --no-compile --target=/{SITE}"
            f" --root-user-action=ignore --requirement=/wheels/requirements && cd /{SITE}"
            f" && rm -rf bin && python3 -m compileall -q --invalidation-mode unchecked-hash -s / -p / ."
        )
        _mmdebstrap(
            [
                "--variant=essential",
                f"--include={','.join((*DEBIAN, *BUILD_DEBIAN))}",
                f'--customize-hook=cp -r {wheels} "$1/wheels"',
                f"--customize-hook=chroot \"$1\" sh -ec 'export PIP_NO_INDEX=1 PIP_FIND_LINKS=/wheels; {install}'",
                "--customize-hook=tar --create --file="
                + str(path)
                + ' --directory="$1" --sort=name --mtime=@0'
                f" --owner=0 --group=0 --numeric-owner {SITE}",
                "--format=null",
            ],
            Path("/dev/null"),
        )


def _project(path: Path, wheel: Path) -> None:
    """This project's packages from its wheel, and the programs that it brings."""
    files: dict[str, Path | bytes] = {}
    with zipfile.ZipFile(wheel) as content:
        for name in content.namelist():
            files[f"{SITE}/{name}"] = content.read(name)
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    programs = {f"usr/local/bin/{name}": _script(target) for name, target in scripts.items()}
    oci.write_layer(path, files | programs, tuple(programs))


def _script(target: str) -> bytes:
    module, _, function = target.partition(":")
    return (
        f"#!/usr/bin/python3\nimport sys\nfrom {module} import {function}\nsys.exit({function}())\n".encode()
    )


def _wheel(directory: Path) -> Path:
    os.environ.setdefault("SOURCE_DATE_EPOCH", "315532800")  # 1980, the earliest that a zip can have
    _run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(directory), str(ROOT))
    return next(directory.glob("*.whl"))


def _requirements() -> list[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return sorted([*project["dependencies"], *project["optional-dependencies"]["driver"]])


def _project_name(requirement: str) -> str:
    return re.split(r"[^A-Za-z0-9._-]", requirement, maxsplit=1)[0]


def _layer(
    kind: str, make: Callable[[Path], None], inputs: list[str], announce: Callable[[str], None]
) -> Path:
    """The layer from the cache, or made now. Its file name says what it was made from."""
    if kind == "python":
        inputs = [*inputs, (ROOT / "constraints.txt").read_text()]
    path = _cache() / f"{kind}-{_key([*inputs, oci.architecture()])}.tar"
    if not path.exists():
        _require()
        announce(f"making the {kind} layer (once, about a minute; kept at {path})")
        with tempfile.TemporaryDirectory(prefix=f".{kind}-", dir=path.parent) as scratch:
            make(Path(scratch) / path.name)
            with tarfile.open(Path(scratch) / path.name) as made:
                if made.next() is None:
                    raise ImageError(f"the {kind} layer came out empty")
            _keep(Path(scratch) / path.name, path)
    return path


def _keep(made: Path, path: Path) -> None:
    """Move a finished file to its place; whole or not at all."""
    part = path.with_suffix(f".{os.getpid()}.part")
    shutil.move(made, part)
    part.replace(path)


def _require() -> None:
    if os.geteuid() != 0:
        raise ImageError(
            "building the image needs root, for a chroot; run it as root, or use driver_ref/deploy/Dockerfile"
        )
    if shutil.which("mmdebstrap") is None:
        raise ImageError("missing program; run: apt-get install -y mmdebstrap")


def _mmdebstrap(arguments: list[str], target: Path) -> None:
    environment = os.environ | {"SOURCE_DATE_EPOCH": "0"}
    _run("mmdebstrap", "--quiet", *arguments, SUITE, str(target), environment=environment)


def _pip(*arguments: str) -> None:
    _run(sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", *arguments)


def _run(*command: str, environment: dict[str, str] | None = None) -> None:
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, env=environment)
    if done.returncode != 0:
        last = "\n".join((done.stderr or done.stdout).strip().splitlines()[-15:])
        raise ImageError(
            f"{Path(command[0]).name} {' '.join(command[1:4])} …: status {done.returncode}:\n{last}"
        )


def _cache() -> Path:
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "csitrace" / "image"
    cache.mkdir(parents=True, exist_ok=True)
    return cache


def _key(inputs: list[str]) -> str:
    return hashlib.sha256("\0".join(inputs).encode()).hexdigest()[:12]


def _file_key(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def main() -> int:
    """Entry point; returns the exit code."""
    argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    ).parse_args()
    try:
        name, archive = build(lambda text: print(text, file=sys.stderr))
    except ImageError as error:
        print(f"image: {error}", file=sys.stderr)
        return 1
    print(name, archive)
    return 0


if __name__ == "__main__":
    sys.exit(main())
