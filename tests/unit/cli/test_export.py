import json
import stat
from pathlib import Path

import pytest

from csitrace.cli.export import export, sort_words
from csitrace.errors import TraceError, UsageError
from csitrace.sources.recording import Recording
from tests.unit.export.told import stuck, whole_life


def _recording() -> Recording:
    return Recording("incident-at-shop.csitrace", stuck().events, ["a file: 3 lines were not understood"])


def test_files_and_objects_may_stand_in_any_order(tmp_path: Path) -> None:
    """What exists is a file, also if it is called like an object; kubectl's spellings are objects."""
    file = tmp_path / "x.csitrace"
    file.touch()
    assert sort_words([str(file), "pvc/x", "pod", "y"]) == ([file], ["pvc/x", "pod", "y"])
    assert sort_words(["pvc/x", str(file)]) == ([file], ["pvc/x"])


def test_a_file_is_its_owners_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What could not be read is told on stderr, and nothing on stdout."""
    out = tmp_path / "out.json"
    assert export(_recording(), "json", str(out)) == 0
    assert stat.S_IMODE(out.stat().st_mode) == 0o600
    assert json.loads(out.read_bytes())["notes"] == ["a file: 3 lines were not understood"]
    told = capsys.readouterr()
    assert told.out == ""
    assert "3 lines" in told.err


def test_volumes_are_chosen_by_the_names_that_the_user_knows(tmp_path: Path) -> None:
    """A filter means the real names, also where the output has none of them, nor the title."""
    out = tmp_path / "out.json"
    assert export(_recording(), "json", str(out), "claim=data", b"key") == 0
    assert len(json.loads(out.read_bytes())["volumes"]) == 1
    assert b"shop" not in out.read_bytes()
    assert export(Recording("x", whole_life().events), "json", str(out), "claim=other", b"key") == 1


def test_what_cannot_be_is_told_in_one_line(tmp_path: Path) -> None:
    """A collector for anything but otlp, a trace of chosen volumes, a directory that is not there."""
    with pytest.raises(UsageError, match="only --to otlp"):
        export(_recording(), "html", "http://localhost:1")
    with pytest.raises(UsageError, match="keeps every event"):
        export(_recording(), "trace", str(tmp_path / "x"), "claim=data")
    with pytest.raises(TraceError, match="name another file"):
        export(_recording(), "csv", str(tmp_path / "missing" / "x"))
