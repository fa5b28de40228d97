"""Any bytes at every importer: facts and notes, or `TraceError`, never another exception."""

import gzip
import io
import random
import tarfile
import zipfile
from itertools import islice
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from csitrace.errors import TraceError
from csitrace.sources.imports.forms import FORMS
from csitrace.sources.imports.importing import open_import
from tools.fuzz_imports import SEEDS, mutants


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(raw=st.binary(max_size=300) | st.sampled_from(SEEDS), form=st.sampled_from(["", *FORMS]))
def test_any_bytes_are_facts_or_a_trace_error(tmp_path: Path, raw: bytes, form: str) -> None:
    """Guessed or told what it is, a file never ends the program otherwise; the events are in order."""
    _import(tmp_path / "file", raw, form)


@pytest.mark.parametrize("seed", range(3))
def test_mutants_of_what_is_well_formed_are_too(tmp_path: Path, seed: int) -> None:
    """Cut, doubled and spliced: what is near to well-formed reaches further in."""
    for raw in islice(mutants(random.Random(seed)), 100):
        _import(tmp_path / "file", raw, "")


def _archives() -> list[bytes]:
    """A few files, packed in each way."""
    packed, zipped, tarred = gzip.compress(SEEDS[0]), io.BytesIO(), io.BytesIO()
    with zipfile.ZipFile(zipped, "w", zipfile.ZIP_DEFLATED) as archive:
        for index, seed in enumerate(SEEDS):
            archive.writestr(f"{index}", seed)
    with tarfile.open(fileobj=tarred, mode="w") as archive_:
        for index, seed in enumerate(SEEDS):
            member = tarfile.TarInfo(f"{index}")
            member.size = len(seed)
            archive_.addfile(member, io.BytesIO(seed))
    return [packed, zipped.getvalue(), tarred.getvalue(), gzip.compress(tarred.getvalue())]


@pytest.mark.parametrize("archive", _archives(), ids=["gz", "zip", "tar", "tar.gz"])
def test_mutants_of_archives_are_too(tmp_path: Path, archive: bytes) -> None:
    """Damaged heads, lengths and contents: files that are left, or a line that says why not."""
    random_ = random.Random(len(archive))
    for _ in range(25):
        raw = bytearray(archive)
        for _ in range(random_.choice((1, 1, 3, 20))):
            at = random_.randrange(len(raw) or 1)
            match random_.randrange(4):
                case 0:
                    raw[at : at + 1] = random_.randbytes(1)
                case 1:
                    del raw[at : at + random_.randrange(40)]
                case 2:
                    raw[at : at + 4] = random_.choice((b"\xff" * 4, b"\0" * 4, b"PK\3\4", b"\x80\0\0\1"))
                case _:
                    raw = raw[: max(1, at)]
        _import(tmp_path / "file", bytes(raw), "")


def _import(path: Path, raw: bytes, form: str) -> None:
    path.write_bytes(raw)
    try:
        recording = open_import([path], form=form)
    except TraceError:
        return
    events = list(recording.events)
    assert [event.seq for event in events] == list(range(1, len(events) + 1))
    assert all("\n" not in note for note in recording.notes)
