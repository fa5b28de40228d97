"""Recordings of old: whatever csitrace becomes, they open, and show what they showed. Never change one; add to them."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from csitrace.sources.recording import open_recording
from csitrace.trace.reader import TraceReader

ROOT = Path(__file__).resolve().parents[3]
TRACES = sorted((ROOT / "tests" / "traces").glob("*.csitrace"))


@pytest.mark.parametrize("path", TRACES, ids=lambda path: path.stem)
def test_it_opens_whole(path: Path) -> None:
    """Every event is understood, and every block is whole."""
    recording = open_recording([path])
    events = list(recording.events)
    assert [event.seq for event in events] == list(range(1, len(events) + 1))
    assert not recording.notes
    assert all(type(event.body).__name__ != "Unrecognised" for event in events)


@pytest.mark.parametrize("path", TRACES, ids=lambda path: path.stem)
def test_it_is_printed_as_it_was(path: Path) -> None:
    """`replay --print` tells the same changes, with the recording's own times; -o json tells them to programs."""
    told = replayed("--print", path)
    assert told == path.with_suffix(".txt").read_text()
    changes = [json.loads(line) for line in replayed("-o", "json", path).splitlines()]
    assert len(changes) == len(told.splitlines())
    assert all(change["time"].startswith("2026-01-02T10:00:") for change in changes)


def test_the_reader_in_the_docs_reads_them(tmp_path: Path) -> None:
    """The code of docs/trace-format.md, as it stands there: the same calls fail, and a damaged block costs itself."""
    text = (ROOT / "docs" / "trace-format.md").read_text()
    (code,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    program = tmp_path / "reader.py"
    program.write_text(code)
    assert len([line for line in code.splitlines() if line.strip()]) <= 55
    path = ROOT / "tests" / "traces" / "road-1.0.csitrace"
    ran = subprocess.run([sys.executable, "-I", program, path], capture_output=True, text=True, check=True)
    (failed,) = [
        event
        for event in TraceReader.open(path).events()
        if type(event.body).__name__ == "RpcFinished" and event.body.code  # type: ignore[union-attr]
    ]
    assert ran.stdout == f"{failed.seq} /csi.v1.Node/NodeUnpublishVolume 13 target is busy\n"
    damaged = bytearray(path.read_bytes())
    damaged[900] ^= 255
    (tmp_path / "damaged").write_bytes(damaged)
    ran = subprocess.run(
        [sys.executable, "-I", program, tmp_path / "damaged"], capture_output=True, text=True, check=True
    )
    assert "cannot be read" in ran.stderr
    assert "target is busy" in ran.stdout


def test_what_cannot_be_replayed_is_said_in_one_line() -> None:
    """No file, no recording, both kinds of output: exit code 2 and one line."""
    for arguments in (
        ["missing.csitrace"],
        [str(ROOT / "Makefile")],
        ["--print", "-o", "screen", str(TRACES[0])],
    ):
        ran = subprocess.run(
            [sys.executable, "-m", "csitrace", "replay", *arguments], capture_output=True, text=True, check=False, cwd=ROOT
        )  # fmt: skip
        assert ran.returncode == 2
        assert len(ran.stderr.splitlines()) == 1
        assert not ran.stdout


def replayed(*arguments: object) -> str:
    command = [sys.executable, "-m", "csitrace", "replay", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT).stdout
