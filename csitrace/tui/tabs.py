"""The names of the panes in one line, with the one that is shown; each can be clicked."""

from dataclasses import dataclass

from textual import events
from textual.message import Message

from csitrace.tui.block import Block
from csitrace.tui.lines import Line, Span, Tone, line


class Tabs(Block):
    """`1 Why  2 Steps …`"""

    @dataclass
    class Chosen(Message):
        """The user clicked the pane with this index."""

        index: int

    def __init__(self, names: tuple[str, ...]) -> None:
        super().__init__(self._tab_lines, id="tabs")
        self._names = names
        self._shown = 0

    def choose(self, index: int) -> None:
        self._shown = index
        self.tick(0)

    def _tab_lines(self, now: int, width: int) -> list[Line]:
        spans: list[Span] = [(" ", Tone.PLAIN)]
        for index, name in enumerate(self._names):
            chosen = index == self._shown
            text = f"[{index + 1} {name}]" if chosen else f" {index + 1} {name} "
            spans += [(text, Tone.TITLE if chosen else Tone.DIM), (" ", Tone.PLAIN)]
        return [line(*spans)]

    async def _on_click(self, event: events.Click) -> None:
        left = 1
        for index, name in enumerate(self._names):
            right = left + len(name) + 5
            if left <= event.x < right:
                self.post_message(self.Chosen(index))
            left = right
