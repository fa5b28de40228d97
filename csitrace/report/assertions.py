"""Assertions on a recording, checked and told."""

import sys
from collections.abc import Sequence

from csitrace.lifecycle.assertion import Assertion
from csitrace.lifecycle.chronicle import chronicle
from csitrace.report.lines import one_line
from csitrace.sources.recording import Recording


def check_recording(recording: Recording, assertions: Sequence[Assertion]) -> int:
    """Say on stdout of each whether it holds, with a line for each violation; 1 when one does not. Raises `TraceError`."""
    told = chronicle(recording.events, recording.title)
    for note in recording.notes:
        print(note, file=sys.stderr)
    violated = False
    for assertion in assertions:
        lines = assertion.check(told)
        violated = violated or bool(lines)
        for line in lines or ["holds"]:
            print(one_line(f"{assertion.text}: {line}"))
    return 1 if violated else 0
