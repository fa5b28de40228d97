"""The signs of states, readable without colour; the tone beside each says the same once more."""

from csitrace.lifecycle.state import StepStatus
from csitrace.lifecycle.views import Severity
from csitrace.model.events import Stamp, Witness
from csitrace.tui.lines import Line, Span, Tone, line

STATUS: dict[StepStatus, Span] = {
    StepStatus.DONE: ("●", Tone.GOOD),
    StepStatus.MOVING: ("◐", Tone.MOVING),
    StepStatus.PENDING: ("○", Tone.DIM),
    StepStatus.FAILED: ("✗", Tone.BAD),
    StepStatus.NOT_APPLICABLE: ("–", Tone.DIM),
    StepStatus.UNKNOWN: ("?", Tone.UNKNOWN),
}

STATUS_WORDS: dict[StepStatus, str] = {
    StepStatus.DONE: "done",
    StepStatus.MOVING: "on its way",
    StepStatus.PENDING: "to come",
    StepStatus.FAILED: "failed",
    StepStatus.NOT_APPLICABLE: "does not apply",
    StepStatus.UNKNOWN: "unknown",
}

SEVERITY: dict[Severity, Span] = {
    Severity.GONE: ("·", Tone.DIM),
    Severity.OK: (" ", Tone.PLAIN),
    Severity.WAITING: (" ", Tone.PLAIN),
    Severity.MOVING: ("◐", Tone.MOVING),
    Severity.UNKNOWN: ("?", Tone.UNKNOWN),
    Severity.SLOW: ("!", Tone.UNKNOWN),
    Severity.STUCK: ("✗", Tone.BAD),
}

SEVERITY_WORDS: dict[Severity, str] = {
    Severity.GONE: "gone",
    Severity.OK: "in use, all is well",
    Severity.WAITING: "waits, as asked",
    Severity.MOVING: "moving",
    Severity.UNKNOWN: "unknown: a witness is not heard",
    Severity.SLOW: "slower than usual",
    Severity.STUCK: "stuck",
}

STAMP: dict[Stamp, str] = {Stamp.OBSERVED: "", Stamp.ORIGIN: "", Stamp.SERVER: "≈", Stamp.INFERRED: "~"}
"""Before a time that nobody saw pass: `≈` read from a field of the object, `~` concluded from other facts."""

AT_LATEST = "≤"
"""Before the time of something later: it had happened by then."""

WITNESS_LETTERS: dict[Witness, str] = {Witness.KUBERNETES: "K", Witness.DRIVER: "D", Witness.KERNEL: "N"}
"""Kubernetes, driver, node (its kernel)."""

PHASE_LETTERS = ("C", "N", "V", "P")
"""CREATED, NODE_READY, VOL_READY, PUBLISHED."""


def status_sign(status: StepStatus) -> Line:
    return line(STATUS[status])


def phase_strip(phases: tuple[StepStatus, ...]) -> Line:
    """The four phases as signs one blank apart."""
    parts: list[Span] = []
    for index, status in enumerate(phases):
        if index:
            parts.append((" ", Tone.PLAIN))
        parts.append(STATUS[status])
    return tuple(parts)
