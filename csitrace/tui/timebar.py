"""The time bar as a widget: a click puts the playhead there."""

from dataclasses import dataclass

from textual import events
from textual.message import Message

from csitrace.tui.block import Block
from csitrace.tui.lines import Line
from csitrace.tui.timeline import bar_begins, bar_cells, timeline_lines
from csitrace.tui.watched import Watched


class TimeBar(Block):
    """Two lines; not there while what is shown is live."""

    DEFAULT_CSS = "TimeBar { height: 2; display: none; background: $surface; }"

    @dataclass
    class Sought(Message):
        """The user wants the playhead at this time (ns)."""

        at: int

    def __init__(self, watched: Watched) -> None:
        super().__init__(self._bar_lines, id="time")
        self._watched = watched

    def _bar_lines(self, now: int, width: int) -> list[Line]:
        return timeline_lines(self._watched.timeline(bar_cells(width)), width)

    async def _on_click(self, event: events.Click) -> None:
        shown = self._watched.timeline(bar_cells(self.size.width))
        cell = event.x - bar_begins()
        if 0 <= cell < shown.cells:
            self.post_message(self.Sought(shown.time_of(cell)))
