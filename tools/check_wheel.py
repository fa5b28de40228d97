"""Build the wheel, install it into an empty environment, and see that it runs there: without a compiler, without pyfuse3."""

import os
import subprocess
import sys
import tempfile
import venv
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

FOREIGN = ("pyfuse3", "trio")
"""What only the driver's extra brings."""


def main() -> int:
    with tempfile.TemporaryDirectory(prefix="csitrace-wheel-") as directory:
        wheel = build(Path(directory))
        check_contents(wheel)
        python = install(wheel, Path(directory) / "venv")
        check_runs(python)
    print(f"{wheel.name}: installs without a compiler and runs without {' and '.join(FOREIGN)}")
    return 0


def build(directory: Path) -> Path:
    run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(directory), str(ROOT))
    (wheel,) = directory.glob("*.whl")
    return wheel


def check_contents(wheel: Path) -> None:
    """The wheel carries both packages, their data files and the licence, and nothing of the tests."""
    names = zipfile.ZipFile(wheel).namelist()
    for wanted in (
        "csitrace/py.typed",
        "csitrace/tui/app.tcss",
        "csitrace/feed/feed.proto",
        "csitrace/cli/completion/csitrace.bash",
        "csitrace/cli/rbac/clusterrole.yaml",
        "driver_ref/__main__.py",
    ):
        if wanted not in names:
            raise SystemExit(f"{wheel.name} lacks {wanted}")
    if strays := [name for name in names if name.startswith(("tests/", "tools/", "benchmarks/"))]:
        raise SystemExit(f"{wheel.name} carries {strays[0]}")


def install(wheel: Path, directory: Path) -> Path:
    """Install with the pinned versions, from wheels alone: a package that would have to be compiled is refused."""
    venv.create(directory, with_pip=True)
    python = directory / "bin" / "python"
    constraints = str(ROOT / "constraints.txt")
    run(str(python), "-m", "pip", "install", "-q", "--only-binary=:all:", "-c", constraints, str(wheel))
    return python


def check_runs(python: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    for foreign in FOREIGN:
        found = subprocess.run(
            [str(python), "-c", f"import {foreign}"], capture_output=True, cwd="/", env=environment
        )
        if found.returncode == 0:
            raise SystemExit(f"{foreign} came in with the plain package")
    for command in (
        ["csitrace", "--help"],
        ["csitrace", "watch", "--help"],
        ["csitrace", "demo", "--help"],
        ["csitrace", "rbac"],
        ["csitrace", "completion", "bash"],
        ["kubectl-csitrace", "--help"],
        ["kubectl_complete-csitrace", ""],
    ):
        run(str(python.parent / command[0]), *command[1:], cwd="/", env=environment)
    run(
        str(python),
        "-c",
        "import csitrace.tui.app, csitrace.lab.demo, csitrace.sources.kernel",
        cwd="/",
        env=environment,
    )


def run(*command: str, cwd: str | None = None, env: dict[str, str] | None = None) -> None:
    done = subprocess.run(command, capture_output=True, text=True, cwd=cwd, env=env)
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stdout}{done.stderr}")


if __name__ == "__main__":
    sys.exit(main())
