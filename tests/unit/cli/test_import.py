"""`csitrace import`: one line for each refusal, where it can be before anything is read; what was made, and how it was dated."""

import os
import resource
from collections.abc import Sequence
from pathlib import Path

import pytest

from csitrace.cli import main
from csitrace.errors import TraceError
from csitrace.model.events import RpcStarted
from csitrace.sources.imports.importing import open_import
from csitrace.sources.imports.spool import Spool
from csitrace.sources.recording import open_recording
from tests import story as told
from tests.unit.sources.imports.test_log_lines import an_attach
from tests.unit.sources.imports.test_logs import log
from tests.unit.sources.imports.test_when import ns

Said = pytest.CaptureFixture[str]


def refused(arguments: Sequence[object], capsys: Said) -> str:
    """The one line that is said; that nothing was made is the caller's to see."""
    assert main(["import", *map(str, arguments)]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    (line,) = said.err.splitlines()
    assert isinstance(line, str)
    return line


def test_a_log_is_dated_as_people_say(tmp_path: Path, capsys: Said) -> None:
    """--log-zone and --taken-at, of one path: the trace has the times, stderr says from where."""
    path, trace = log(tmp_path / "a.log", *an_attach()), tmp_path / "case.csitrace"
    arguments = [
        "import", str(path), "-o", str(trace), "--driver", told.DRIVER, "--log-zone", "Europe/Berlin",
        "--taken-at", f"{path}=2024-01-02T12:00:00+01:00",
    ]  # fmt: skip
    assert main(arguments) == 0
    said = capsys.readouterr().err
    assert "taken to be of 2024, by --taken-at, in Europe/Berlin" in said
    starts = [e.occurred_at for e in open_recording([trace]).events if isinstance(e.body, RpcStarted)]
    assert starts == [ns("2024-01-02T09:00:01Z")]


def test_what_it_would_write_over_is_said_first(
    tmp_path: Path, capsys: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The output is there, is the input by another name, or has nowhere to be: nothing is read for it, nothing is lost."""
    path, other = log(tmp_path / "a.log", *an_attach()), tmp_path / "other"
    other.write_text("mine")
    (tmp_path / "link").symlink_to(path)
    before = path.read_text()
    assert "is there already: name another file, or say --overwrite" in refused([path, "-o", other], capsys)
    assert "is what is to be imported" in refused([path, "-o", path, "--overwrite"], capsys)
    assert "is what is to be imported" in refused([path, "-o", tmp_path / "link", "--overwrite"], capsys)
    assert "there is no directory" in refused([path, "-o", tmp_path / "no" / "x"], capsys)
    monkeypatch.setattr(os, "access", lambda *_: False)  # as for who is not root
    assert "may not be written to" in refused([path, "-o", tmp_path / "x"], capsys)
    assert (path.read_text(), other.read_text()) == (before, "mine")


@pytest.mark.parametrize(
    ("words", "because"),
    [
        (["--log-zone", "Mars/Olympus"], "say a name as Europe/Berlin, an offset as +02:00, or local"),
        (["--taken-at", "noon"], "say it with its zone"),
        (["--taken-at", "b.yaml=2026-01-02T10:00:00Z"], "b.yaml is not among the paths"),
    ],
)
def test_words_that_are_none_are_refused(
    tmp_path: Path, capsys: Said, words: list[str], because: str
) -> None:
    """The flag, what was said, and what would do."""
    path = log(tmp_path / "a.log", *an_attach())
    line = refused([path, "-o", tmp_path / "x", *words], capsys)
    assert f"{words[0]} {words[1]}: " in line
    assert because in line
    assert not (tmp_path / "x").exists()


def test_nothing_understood_is_one_line_and_no_file(tmp_path: Path, capsys: Said) -> None:
    """An empty directory, one of other things, a path that leads nowhere, a trace."""
    case, output = tmp_path / "case", tmp_path / "x"
    case.mkdir()
    assert "there are no files in it, or only empty ones" in refused([case, "-o", output], capsys)
    (case / "photo.jpg").write_bytes(b"\xff\xd8\xff\xe0")
    assert "photo.jpg: not understood" in refused([case, "-o", output], capsys)
    assert "No such file or directory" in refused([tmp_path / "nowhere", "-o", output], capsys)
    made = tmp_path / "made.csitrace"
    assert main(["import", str(log(tmp_path / "a.log", *an_attach())), "--driver", "d", "-o", str(made)]) == 0
    capsys.readouterr()
    assert "is a trace already" in refused([made, "-o", output], capsys)
    assert not output.exists()


def test_no_room_for_what_was_read_ends_it(tmp_path: Path) -> None:
    """A disk that is full is no damage of the file that was being read: it is said, and half a trace is not made."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    spool = Spool()
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000, hard))
    try:
        with pytest.raises(
            TraceError, match=r"temporary file: File too large; name a directory with room in TMPDIR"
        ):
            spool.append(b"x" * 100_000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_nowhere_for_temporary_files_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """TMPDIR leads to a file."""
    import tempfile

    monkeypatch.setattr(tempfile, "tempdir", str(log(tmp_path / "a.log", *an_attach())))
    with pytest.raises(TraceError, match="name a directory with room in TMPDIR"):
        open_import([tmp_path / "a.log"])
