"""Signs and colours of text on a terminal. A colour says what the sign it colours says, and never more."""

import os
from typing import TextIO

from csitrace.lifecycle.state import StepStatus
from csitrace.lifecycle.views import Severity
from csitrace.model.events import Stamp

STATUS_SIGNS: dict[StepStatus, str] = {
    StepStatus.DONE: "●",
    StepStatus.MOVING: "◐",
    StepStatus.PENDING: "○",
    StepStatus.FAILED: "✗",
    StepStatus.NOT_APPLICABLE: "–",
    StepStatus.UNKNOWN: "?",
}

SEVERITY_SIGNS: dict[Severity, str] = {
    Severity.GONE: "·",
    Severity.OK: "●",
    Severity.WAITING: "○",
    Severity.MOVING: "◐",
    Severity.UNKNOWN: "?",
    Severity.SLOW: "!",
    Severity.STUCK: "✗",
}

STAMP_SIGNS: dict[Stamp, str] = {Stamp.OBSERVED: "", Stamp.ORIGIN: "", Stamp.SERVER: "≈", Stamp.INFERRED: "~"}
AT_LATEST = "≤"
"""Before a time, as on the screen: `≈` read from a field, `≤` by then at the latest, `~` concluded from other facts."""

_COLOURS = {"✗": "31", "!": "33", "?": "33", "◐": "36", "●": "32"}


def painted(sign: str, is_coloured: bool) -> str:
    """The sign, in its colour where there are colours."""
    colour = _COLOURS.get(sign) if is_coloured else None
    return f"\x1b[{colour}m{sign}\x1b[0m" if colour else sign


def has_colours(stream: TextIO) -> bool:
    """Whether text on `stream` is to be coloured: on a terminal that can, and not where NO_COLOR is set."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
