"""Help: the keys, the signs and the filter language, from the tables that define them."""

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.screen import ModalScreen

from csitrace.lifecycle.filter import VOLUME_FIELDS
from csitrace.model.events import Stamp, Witness
from csitrace.tui.block import Block
from csitrace.tui.keys import Scope, keys_of
from csitrace.tui.lines import Line, Tone, fit, line, wrap
from csitrace.tui.signs import (
    PHASE_LETTERS,
    SEVERITY,
    SEVERITY_WORDS,
    STAMP,
    STATUS,
    STATUS_WORDS,
    WITNESS_LETTERS,
)

_LEFT = 14

_WHO = {
    Witness.KUBERNETES: "the cluster's objects show",
    Witness.DRIVER: "the driver was asked and answered",
    Witness.KERNEL: "the node's kernel shows",
}

_STAMPS = {
    Stamp.SERVER: "the server's own time, in whole seconds",
    Stamp.INFERRED: "concluded from other facts: nobody saw it happen",
}


class HelpScreen(ModalScreen[None]):
    """Closed by Esc, q or ?."""

    BINDINGS: ClassVar[list[BindingType]] = [("escape,q,question_mark", "dismiss", "close")]
    DEFAULT_CSS = """
    HelpScreen {
        align: center middle;
        & Block { width: 90%; max-width: 100; height: 90%; border: round $primary; padding: 0 1; background: $surface; }
    }
    """

    def compose(self) -> ComposeResult:
        yield Block(help_lines, id="help", focusable=True)


def help_lines(now: int, width: int) -> list[Line]:
    """The whole text of the help."""
    lines: list[Line] = [line(("Esc closes, arrows scroll.", Tone.DIM))]
    for scope in Scope:
        lines += _section(
            str(scope), [(line((key.shown, Tone.STRONG)), key.meaning) for key in keys_of(scope)], width
        )
    severities = [
        (line(sign), SEVERITY_WORDS[severity]) for severity, sign in SEVERITY.items() if sign[0].strip()
    ]
    lines += _section("Signs before a volume", severities, width)
    lines += _section(
        "Signs of phases and steps",
        [(line(sign), STATUS_WORDS[status]) for status, sign in STATUS.items()],
        width,
    )
    phases = ("CREATED: exists remotely", "NODE_READY: the node can see it", "VOL_READY: mounted on the node",
              "PUBLISHED: mounted into the pod")  # fmt: skip
    lines += _section(
        "Phases", [(line(letter), text) for letter, text in zip(PHASE_LETTERS, phases, strict=True)], width
    )
    letters = [(line(letter), f"what {_WHO[witness]}") for witness, letter in WITNESS_LETTERS.items()]
    lines += _section("Witnesses", letters, width)
    stamps = [(line(sign), _STAMPS[stamp]) for stamp, sign in STAMP.items() if sign]
    lines += _section("Before a time", stamps, width)
    fields = [
        (line((name, Tone.STRONG)), f"{field.meaning} ({field.kind.value})")
        for name, field in VOLUME_FIELDS.items()
    ]
    lines += _section("Filter", [
        (line("words"), "are looked for in all names; field:value, field>value; and, or, not, ( )"),
        (line("example"), "driver:ebs and stuck>30s and not ns:dev"),
        *fields,
    ], width)  # fmt: skip
    return lines


def _section(title: str, rows: list[tuple[Line, str]], width: int) -> list[Line]:
    lines = [line(), line((title, Tone.TITLE))]
    for left, right in rows:
        lines += wrap(line(fit(left, _LEFT), right), width, indent=_LEFT)
    return lines
