"""The legend: every sign the screens use and what it means, for the help and for docs/keys.md."""

from csitrace.model.events import Stamp, Witness
from csitrace.tui.lines import Span, Tone
from csitrace.tui.signs import (
    AT_LATEST,
    PHASE_LETTERS,
    SEVERITY,
    SEVERITY_WORDS,
    STAMP,
    STATUS,
    STATUS_WORDS,
    WITNESS_LETTERS,
)

_PHASES = (
    "CREATED: exists remotely",
    "NODE_READY: the node can see it",
    "VOL_READY: mounted on the node",
    "PUBLISHED: mounted into the pod",
)

_WHO = {
    Witness.KUBERNETES: "what the cluster's objects show",
    Witness.DRIVER: "what the driver was asked and answered",
    Witness.KERNEL: "what the node's kernel shows",
}

_STAMPS = {
    Stamp.SERVER: "the server's own time, in whole seconds",
    Stamp.INFERRED: "concluded from other facts: nobody saw it happen",
}

_OTHERS = (
    ("●", "of a witness: heard on all it was asked for; of a driver: registered, leading, ready"),
    ("▲", "of a witness: not heard everywhere; as a mode: what is shown is not live"),
    ("–", "of a witness: not asked; of a driver: not there"),
    ("≠", "witnesses contradict each other"),
    ("↩", "the way back: unpublish, unstage, detach, delete"),
    ("↑", "the expansion that was asked for"),
    ("‖", "held: the header says at which time"),
    ("▶", "a replay plays: the header says what time it was, and how many times as fast it goes"),
    ("▲", "in the time bar: what is shown"),
    ("◆", "in the time bar: a mark"),
    ("✗╌", "in the time bar: since when a step of some volume had failed, and for how long"),
    ("● REC", "what is heard is recorded: facts and bytes so far"),
)

LEGEND: tuple[tuple[str, tuple[tuple[Span, str], ...]], ...] = (
    (
        "Signs before a volume, a driver or a node",
        tuple((sign, SEVERITY_WORDS[severity]) for severity, sign in SEVERITY.items() if sign[0].strip()),
    ),
    ("Signs of phases and steps", tuple((sign, STATUS_WORDS[status]) for status, sign in STATUS.items())),
    (
        "Phases",
        tuple(((letter, Tone.PLAIN), text) for letter, text in zip(PHASE_LETTERS, _PHASES, strict=True)),
    ),
    (
        "Witnesses",
        tuple(((letter, Tone.PLAIN), _WHO[witness]) for witness, letter in WITNESS_LETTERS.items()),
    ),
    (
        "Before a time",
        (
            *(((sign, Tone.PLAIN), _STAMPS[stamp]) for stamp, sign in STAMP.items() if sign),
            ((AT_LATEST, Tone.PLAIN), "by then at the latest: the server tells of something later"),
        ),
    ),
    ("Other signs", tuple(((sign, Tone.PLAIN), text) for sign, text in _OTHERS)),
)
"""(heading, ((sign, meaning), …)) in the order in which they are told."""
