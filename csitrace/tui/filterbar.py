"""Where a filter is typed. What is understood takes effect while typing; what is not says where and why, and takes none."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from textual import events
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.message import Message
from textual.widgets import Input

from csitrace.errors import FilterError
from csitrace.lifecycle.filter import Filter
from csitrace.tui.block import Block
from csitrace.tui.lines import Line, Tone, line, wrap


class FilterBar(Vertical):
    """Hidden until opened. Enter keeps the filter, Esc takes back what was typed since it was opened."""

    DEFAULT_CSS = """
    FilterBar {
        height: auto; display: none;
        & Input { padding: 0 1; background: $surface; }
        & Block { height: auto; max-height: 3; padding: 0 1; }
    }
    """

    @dataclass
    class Changed(Message):
        """Another filter is to be used. `done`: the bar was closed."""

        filter: Filter[Any]
        done: bool = False

    def __init__(self, read: Callable[[str], Filter[Any]], example: str) -> None:
        super().__init__()
        self._read, self._example = read, example
        self._before = read("")

    def compose(self) -> ComposeResult:
        yield Input(placeholder=self._example, select_on_focus=False, compact=True)
        yield Block()

    def open(self, current: Filter[Any]) -> None:
        """Let the user change `current`."""
        self._before = current
        self.display = True
        field = self.query_one(Input)
        field.value = current.text
        field.cursor_position = len(current.text)
        field.focus()

    def _close(self, chosen: Filter[Any]) -> None:
        self.display = False
        self.post_message(self.Changed(chosen, done=True))

    def _on_input_changed(self, event: Input.Changed) -> None:
        event.stop()
        if not self.display:
            return
        try:
            chosen = self._read(event.value)
        except FilterError as error:
            self._explain(event.value, error)
            self.post_message(self.Changed(self._before))
            return
        self.query_one(Block).show(lambda now, width: [], 0)
        self.post_message(self.Changed(chosen))

    def _on_input_submitted(self, event: Input.Submitted) -> None:
        event.stop()
        try:
            self._close(self._read(event.value))
        except FilterError as error:
            self._explain(event.value, error)

    def _explain(self, text: str, error: FilterError) -> None:
        self.query_one(Block).show(lambda now, width: error_lines(text, error, width), 0)

    async def _on_key(self, event: events.Key) -> None:
        if event.key == "escape":
            event.stop()
            event.prevent_default()
            self._close(self._before)


def error_lines(text: str, error: FilterError, width: int) -> list[Line]:
    """A mark under the offending place of the text above, and what is wrong there."""
    shift = max(0, len(text) - width + 2)  # the input scrolls when the text is longer than the line
    place = max(0, min(error.position - shift, width - 1))
    return [line(" " * place, ("^", Tone.BAD)), *wrap(line((str(error), Tone.BAD)), width)]
