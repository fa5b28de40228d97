"""csitrace as a krew plugin: the manifest krew accepts, and the launcher that finds the right Python."""

import re
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import pytest

from tools.krew import archive
from tools.krew.manifest import manifest, semantic

URL, DIGEST = "https://example.org/kubectl-csitrace-linux-amd64.tar.gz", "0" * 64
MINE = f"cp3{sys.version_info.minor}"


def made(**archives: tuple[str, str]) -> dict[str, Any]:
    return manifest("0.2.0rc1", "https://example.org", ["3.11"], archives or {"amd64": (URL, DIGEST)})


def test_the_manifest_has_what_krew_asks_for() -> None:
    """Kind and version of the format, a name that may be one, a semantic version with a `v`, a short description of one line."""
    told = made()
    assert (told["apiVersion"], told["kind"]) == ("krew.googlecontainertools.github.com/v1alpha2", "Plugin")
    assert re.fullmatch(r"[\w-]+", told["metadata"]["name"])
    spec = told["spec"]
    assert re.fullmatch(r"v\d+\.\d+\.\d+(-[0-9A-Za-z.-]+)?", spec["version"])
    assert 0 < len(spec["shortDescription"]) <= 50
    assert "\n" not in spec["shortDescription"]


def test_every_platform_says_which_and_what_to_run() -> None:
    """A selector of os and arch, an archive with its sha256, and the executable that kubectl will find."""
    platforms = made(amd64=(URL, DIGEST), arm64=(URL, DIGEST))["spec"]["platforms"]
    assert [platform["selector"]["matchLabels"] for platform in platforms] == [
        {"os": "linux", "arch": "amd64"},
        {"os": "linux", "arch": "arm64"},
    ]
    assert all(platform["bin"] == archive.BIN == "kubectl-csitrace" for platform in platforms)
    assert all(re.fullmatch("[a-f0-9]{64}", platform["sha256"]) and platform["uri"] for platform in platforms)


@pytest.mark.parametrize("wrong", [("ftp://x/y.tar.gz", DIGEST), (URL, "abc"), (URL, DIGEST.upper() + "A")])
def test_what_krew_would_refuse_is_refused_here(wrong: tuple[str, str]) -> None:
    """An address that is none, and a sum that is none."""
    with pytest.raises(ValueError, match="amd64"):
        made(amd64=wrong)


@pytest.mark.parametrize(
    ("version", "expected"),
    [("0.1.0.dev0", "v0.1.0-dev.0"), ("1.2.3", "v1.2.3"), ("1.2.3rc4", "v1.2.3-rc.4")],
)
def test_versions_become_semantic(version: str, expected: str) -> None:
    """Python writes pre-releases in another way."""
    assert semantic(version) == expected
    assert semantic(expected) == expected


def test_the_archive_depends_on_its_content_alone(tmp_path: Path) -> None:
    """Made twice it has the same sum; the launcher in it may be executed."""
    content = tmp_path / "content"
    (content / "lib" / "any").mkdir(parents=True)
    (content / "lib" / "any" / "module.py").write_text("")
    shutil.copy(archive.HERE / "launcher.py", content / archive.BIN)
    (content / archive.BIN).chmod(0o755)
    first = archive.pack(content, tmp_path / "one.tar.gz")
    (content / "lib" / "any" / "module.py").touch()
    second = archive.pack(content, tmp_path / "two.tar.gz")
    assert archive.sha256(first) == archive.sha256(second)
    with tarfile.open(first) as tar:
        assert {member.name: member.mode for member in tar} == {
            archive.BIN: 0o755,
            "lib/any/module.py": 0o644,
        }


def plugin(directory: Path, *pythons: str) -> Path:
    """The launcher, linked as krew does, beside libraries for these Pythons: a csitrace that only tells how it was called."""
    store = directory / "store"
    for name in pythons:
        (store / "lib" / name).mkdir(parents=True)
    package = store / "lib" / "any" / "csitrace"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "cli.py").write_text(
        "import sys\ndef main():\n    print(sys.argv, sys.path[:3])\n    return 7\n"
    )
    shutil.copy(archive.HERE / "launcher.py", store / archive.BIN)
    (store / archive.BIN).chmod(0o755)
    programs = directory / "bin"
    programs.mkdir()
    (programs / archive.BIN).symlink_to(store / archive.BIN)
    (programs / "python3").symlink_to(sys.executable)
    return programs


def test_the_launcher_runs_it_with_the_libraries_of_its_python(tmp_path: Path) -> None:
    """Found through krew's link; arguments, name and exit code are passed on; this Python's libraries come first."""
    programs = plugin(tmp_path, MINE, "cp39")
    done = run(programs, "watch", "-n", "shop")
    libraries = [str(tmp_path / "store" / "lib" / name) for name in (MINE, "abi3", "any")]
    assert done.stdout.strip() == f"{[str(programs / archive.BIN), 'watch', '-n', 'shop']} {libraries}"
    assert done.returncode == 7


def test_another_python_on_path_is_taken_if_it_fits_better(tmp_path: Path) -> None:
    """Where python3 has no libraries, the newest python3.x that has them runs it."""
    programs = plugin(tmp_path, "cp398", "cp399")
    for name in ("python3.98", "python3.99"):
        (programs / name).write_text(f'#!/bin/sh\necho {name} "$2"\n')
        (programs / name).chmod(0o755)
    assert run(programs, "watch").stdout == "python3.99 watch\n"


def test_without_a_python_that_fits_it_says_which_one_is_needed(tmp_path: Path) -> None:
    """One line, not an ImportError."""
    done = run(plugin(tmp_path, "cp398", "cp399"), "watch")
    assert done.returncode == 1
    [line] = done.stderr.splitlines()
    assert "needs one of Python 3.99, 3.98 on PATH" in line


def run(programs: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [str(programs / archive.BIN), *arguments],
        env={"PATH": f"{programs}:/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=60,
    )
