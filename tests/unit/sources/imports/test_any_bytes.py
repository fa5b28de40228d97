"""Any bytes at every importer: facts and notes, or `TraceError`, never another exception."""

import random
from itertools import islice
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from csitrace.errors import TraceError
from csitrace.sources.imports.forms import FORMS
from csitrace.sources.imports.importing import open_import
from tools.fuzz_imports import SEEDS, mutants


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(raw=st.binary(max_size=300) | st.sampled_from(SEEDS), form=st.sampled_from(["", *FORMS]))
def test_any_bytes_are_facts_or_a_trace_error(tmp_path: Path, raw: bytes, form: str) -> None:
    """Guessed or told what it is, a file never ends the program otherwise; the events are in order."""
    _import(tmp_path / "file", raw, form)


@pytest.mark.parametrize("seed", range(3))
def test_mutants_of_what_is_well_formed_are_too(tmp_path: Path, seed: int) -> None:
    """Cut, doubled and spliced: what is near to well-formed reaches further in."""
    for raw in islice(mutants(random.Random(seed)), 100):
        _import(tmp_path / "file", raw, "")


def _import(path: Path, raw: bytes, form: str) -> None:
    path.write_bytes(raw)
    try:
        recording = open_import([path], form=form)
    except TraceError:
        return
    events = list(recording.events)
    assert [event.seq for event in events] == list(range(1, len(events) + 1))
    assert all("\n" not in note for note in recording.notes)
