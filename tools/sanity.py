"""Run csi-sanity, the conformance tests of the Kubernetes CSI community, against the reference driver.

    python tools/sanity.py [--list-skipped]

Starts the driver on a directory of its own, runs every test, and prints what passed, failed and was skipped. The skipped tests
and their reasons are listed in docs/sanity.md; a test that is skipped but not listed there is a failure, too.
Needs Go (to build csi-sanity, once) and the right to mount; without them it says so and exits 77 (with CI=true: 1).
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

REPOSITORY = Path(__file__).resolve().parent.parent
LISTED = REPOSITORY / "docs" / "sanity.md"
NOT_POSSIBLE = 77
START_TIMEOUT = 20.0


class NotPossibleError(Exception):
    """This machine cannot run the tests; the text says why."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """One test of the suite. `verdict`: passed, failed, skipped or pending; `reason`: why not passed."""

    name: str
    verdict: str
    reason: str


def outcomes(junit: Path) -> list[Outcome]:
    """The tests of a JUnit report as ginkgo writes it; its nodes that are no tests ("[BeforeSuite]") are left out."""
    return [
        _outcome(case)
        for case in ElementTree.parse(junit).getroot().iter("testcase")
        if case.get("name", "").startswith("[It] ")
    ]


def _outcome(case: ElementTree.Element) -> Outcome:
    name = case.get("name", "").removeprefix("[It] ")
    for tag in ("failure", "error"):
        found = case.find(tag)
        if found is not None:
            return Outcome(name, "failed", found.get("message", ""))
    skipped = case.find("skipped")
    if skipped is None:
        return Outcome(name, "passed", "")
    verdict, _, reason = (skipped.get("message") or "pending").partition(" - ")
    return Outcome(name, verdict, reason or "disabled by the suite itself")


def listed(text: str) -> set[str]:
    """The names of the tests that docs/sanity.md lists as skipped: the first cells of its table."""
    return {match[1] for match in re.finditer(r"^\| `([^`]+)` \|", text, re.MULTILINE)}


def build() -> Path:
    """The csi-sanity program, built if it is not in the cache."""
    built = subprocess.run(
        [sys.executable, "-m", "tests.cluster", "build", "csi-sanity"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    if built.returncode != 0:
        raise NotPossibleError(f"csi-sanity cannot be built: {built.stderr.strip()}")
    return Path(built.stdout.strip().splitlines()[-1])


@contextmanager
def driver(directory: Path) -> Iterator[Path]:
    """The driver, listening on the socket that is given; ended, with all its FUSE processes' mounts, on leaving."""
    socket = directory / "csi.sock"
    log = directory / "driver.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "driver_ref",
                f"--endpoint=unix://{socket}",
                "--node-id=sanity",
                f"--state-dir={directory / 'state'}",
                "--max-volumes-per-node=16",
            ],
            cwd=REPOSITORY,
            stdout=output,
            stderr=output,
        )
    try:
        deadline = time.monotonic() + START_TIMEOUT
        while not socket.exists():
            if process.poll() is not None or time.monotonic() > deadline:
                raise NotPossibleError(f"the driver did not start: {_last_line(log)}")
            time.sleep(0.05)
        yield socket
    finally:
        process.terminate()
        process.wait()
        _unmount_below(directory)


def _last_line(log: Path) -> str:
    return (log.read_text(errors="replace").strip().splitlines() or ["it wrote nothing"])[-1]


def _unmount_below(directory: Path) -> None:
    """Detach what a failed test left mounted; the FUSE process of a mount that is gone ends by itself."""
    for line in reversed(Path("/proc/self/mountinfo").read_text().splitlines()):
        mount_point = line.split(" ")[4]
        if mount_point.startswith(f"{directory}/"):
            subprocess.run(["umount", "--lazy", mount_point], check=False)


def run(program: Path, directory: Path) -> tuple[list[Outcome], str]:
    """Run the suite; returns every test's outcome, and what the program wrote."""
    report = directory / "junit.xml"
    with driver(directory) as socket:
        finished = subprocess.run(
            [
                program,
                f"--csi.endpoint=unix://{socket}",
                f"--csi.mountdir={directory / 'mount'}",
                f"--csi.stagingdir={directory / 'staging'}",
                "--csi.testnodevolumeattachlimit",
                "--ginkgo.no-color",
                f"--ginkgo.junit-report={report}",
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
    if not report.exists():
        raise NotPossibleError(f"csi-sanity wrote no report:\n{finished.stdout}")
    return outcomes(report), finished.stdout


def judge(found: list[Outcome], allowed: set[str]) -> list[str]:
    """What is wrong with a run, a line each: failed tests, unlisted skips, and listed skips that are none."""
    skipped = {outcome.name for outcome in found if outcome.verdict in ("skipped", "pending")}
    wrong = [f"FAILED {outcome.name}: {outcome.reason}" for outcome in found if outcome.verdict == "failed"]
    wrong += [f"skipped, but not listed in {LISTED.name}: {name}" for name in sorted(skipped - allowed)]
    wrong += [f"listed in {LISTED.name}, but not skipped: {name}" for name in sorted(allowed - skipped)]
    return wrong if found else ["no test was run"]


def main() -> int:
    """Entry point; returns the exit code."""
    parser = argparse.ArgumentParser(description="Run csi-sanity against the reference driver.")
    parser.add_argument(
        "--list-skipped", action="store_true", help="print the skipped tests as rows of docs/sanity.md"
    )
    arguments = parser.parse_args()
    try:
        if os.geteuid() != 0:
            raise NotPossibleError("mounting needs root")
        program = build()
        with tempfile.TemporaryDirectory(prefix="sanity-") as directory:
            found, output = run(program, Path(directory).resolve())
    except NotPossibleError as reason:
        print(f"sanity: not run: {reason}", file=sys.stderr)
        return 1 if os.environ.get("CI") == "true" else NOT_POSSIBLE
    skipped = [outcome for outcome in found if outcome.verdict in ("skipped", "pending")]
    if arguments.list_skipped:
        for outcome in skipped:
            print(f"| `{outcome.name}` | {outcome.reason} |")
    wrong = judge(found, listed(LISTED.read_text()))
    if any(outcome.verdict == "failed" for outcome in found):
        print(output)
    for line in wrong:
        print(line)
    passed = sum(outcome.verdict == "passed" for outcome in found)
    failed = sum(outcome.verdict == "failed" for outcome in found)
    print(
        f"csi-sanity: {passed} passed, {failed} failed, {len(skipped)} skipped (listed in docs/{LISTED.name})"
    )
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
