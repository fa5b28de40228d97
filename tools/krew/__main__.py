"""`python -m tools.krew archive`, `python -m tools.krew manifest`."""

import argparse
import sys
from pathlib import Path

import yaml

from csitrace import __version__
from tools.krew import archive
from tools.krew.manifest import manifest


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tools.krew", description="csitrace as a krew plugin")
    commands = parser.add_subparsers(required=True)
    make = commands.add_parser("archive", help="make the archive, and check it as krew would install it")
    make.add_argument("--out", type=Path, default=archive.ROOT / "dist", help="default: dist")
    make.add_argument(
        "--python", action="append", help="for these versions (default: this one); may be repeated"
    )
    make.add_argument("--arch", choices=tuple(archive.ARCHITECTURES), default=archive.this_architecture())
    make.set_defaults(run=_archive)
    tell = commands.add_parser("manifest", help="print the manifest")
    tell.add_argument("--version", default=__version__)
    tell.add_argument("--homepage", required=True)
    tell.add_argument("--python", action="append", help="as the archives were made for")
    tell.add_argument(
        "--archive",
        nargs=3,
        action="append",
        required=True,
        metavar=("ARCH", "URL", "SHA256"),
        help="may be repeated",
    )
    tell.set_defaults(run=_manifest)
    arguments = parser.parse_args()
    arguments.python = arguments.python or [f"3.{sys.version_info.minor}"]
    run: int = arguments.run(arguments)
    return run


def _archive(arguments: argparse.Namespace) -> int:
    made = archive.build(arguments.out, __version__, arguments.python, arguments.arch)
    if arguments.arch == archive.this_architecture() and f"3.{sys.version_info.minor}" in arguments.python:
        archive.check(made, __version__)
    print(f"{made}  {made.stat().st_size / 1e6:.0f} MB  sha256 {archive.sha256(made)}")
    return 0


def _manifest(arguments: argparse.Namespace) -> int:
    archives = {arch: (url, digest) for arch, url, digest in arguments.archive}
    try:
        told = manifest(arguments.version, arguments.homepage, arguments.python, archives)
    except ValueError as error:
        raise SystemExit(f"krew: {error}") from None
    sys.stdout.write(yaml.safe_dump(told, sort_keys=False))
    return 0


if __name__ == "__main__":
    sys.exit(main())
