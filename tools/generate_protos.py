"""Generate the Python code of every .proto of this repository, or check that it is up to date.

    python tools/generate_protos.py           write *_pb2.py, *_pb2.pyi, *_pb2_grpc.py, *_pb2_grpc.pyi beside each .proto
    python tools/generate_protos.py --check   write nothing; exit 1 and name every file that differs

The generators are the pinned development packages grpcio-tools and mypy-protobuf.
"""

import argparse
import os
import subprocess
import sys
import sysconfig
import tempfile
from importlib import resources
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
PACKAGES = ("csitrace", "driver_ref")
GENERATED = ("_pb2.py", "_pb2.pyi", "_pb2_grpc.py", "_pb2_grpc.pyi")


def proto_files() -> list[Path]:
    """Every .proto of the shipped packages, relative to the repository, sorted."""
    found = [path for package in PACKAGES for path in (REPOSITORY / package).rglob("*.proto")]
    return sorted(path.relative_to(REPOSITORY) for path in found)


def outputs(proto: Path) -> list[Path]:
    """The generated files of one .proto, relative like it."""
    return [proto.with_name(proto.stem + suffix) for suffix in GENERATED]


def generate(into: Path, protos: list[Path]) -> None:
    """Run protoc on all `protos` at once; the output tree below `into` mirrors the repository."""
    includes = resources.files("grpc_tools") / "_proto"
    scripts = sysconfig.get_path("scripts")
    subprocess.run(
        [
            sys.executable,
            "-m",
            "grpc_tools.protoc",
            f"-I{REPOSITORY}",
            f"-I{includes}",
            f"--python_out={into}",
            f"--grpc_python_out={into}",
            f"--mypy_out=quiet:{into}",
            f"--mypy_grpc_out=quiet:{into}",
            *map(str, protos),
        ],
        check=True,
        env=os.environ | {"PATH": f"{scripts}{os.pathsep}{os.environ.get('PATH', '')}"},
    )


def stale(fresh: Path, protos: list[Path]) -> list[Path]:
    """The generated files of the repository that differ from the `fresh` ones, or should not be there."""
    expected = {path for proto in protos for path in outputs(proto)}
    present = {
        path.relative_to(REPOSITORY)
        for package in PACKAGES
        for suffix in GENERATED
        for path in (REPOSITORY / package).rglob(f"*{suffix}")
    }
    differing = {
        path for path in expected & present if (REPOSITORY / path).read_bytes() != (fresh / path).read_bytes()
    }
    return sorted(differing | (expected ^ present))


def main() -> int:
    """Entry point; returns the exit code."""
    parser = argparse.ArgumentParser(
        description="Generate the Python code of every .proto of this repository."
    )
    parser.add_argument("--check", action="store_true", help="write nothing; fail when a file is out of date")
    arguments = parser.parse_args()
    protos = proto_files()
    if not arguments.check:
        generate(REPOSITORY, protos)
        return 0
    with tempfile.TemporaryDirectory() as directory:
        fresh = Path(directory)
        generate(fresh, protos)
        differing = stale(fresh, protos)
    for path in differing:
        print(f"{path}: not what its .proto generates; run python tools/generate_protos.py", file=sys.stderr)
    return 1 if differing else 0


if __name__ == "__main__":
    sys.exit(main())
