"""Help: the keys, the signs and the filter language, from the tables that define them."""

from collections.abc import Mapping
from typing import Any, ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.screen import ModalScreen

from csitrace.lifecycle.drivers import DRIVER_FIELDS
from csitrace.lifecycle.filter import VOLUME_FIELDS, Field
from csitrace.lifecycle.nodes import NODE_FIELDS
from csitrace.tui.block import Block
from csitrace.tui.keys import Scope, keys_of
from csitrace.tui.legend import LEGEND
from csitrace.tui.lines import Line, Tone, fit, line, wrap

_LEFT = 14


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
    for title, signs in LEGEND:
        lines += _section(title, [(line(sign), meaning) for sign, meaning in signs], width)
    lines += _section("Filter", [
        (line("words"), "are looked for in all names; field:value, field>value; and, or, not, ( )"),
        (line("example"), "driver:ebs and stuck>30s and not ns:dev"),
    ], width)  # fmt: skip
    lines += _section("Fields of volumes", _fields(VOLUME_FIELDS), width)
    lines += _section("Fields of drivers", _fields(DRIVER_FIELDS), width)
    return lines + _section("Fields of nodes", _fields(NODE_FIELDS), width)


def _fields(fields: Mapping[str, Field[Any]]) -> list[tuple[Line, str]]:
    return [
        (line((name, Tone.STRONG)), f"{field.meaning} ({field.kind.value})") for name, field in fields.items()
    ]


def _section(title: str, rows: list[tuple[Line, str]], width: int) -> list[Line]:
    lines = [line(), line((title, Tone.TITLE))]
    for left, right in rows:
        lines += wrap(line(fit(left, _LEFT), right), width, indent=_LEFT)
    return lines
