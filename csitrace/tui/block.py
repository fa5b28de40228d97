"""A text that scrolls: lines drawn by a function of the time and the width."""

from collections.abc import Callable

from textual import events
from textual.geometry import Size
from textual.strip import Strip

from csitrace.tui.keys import Scope, bindings
from csitrace.tui.lines import Line
from csitrace.tui.toned import TonedView

DrawLines = Callable[[int, int], list[Line]]
"""Draws at a time (ns) into a width (cells)."""


class Block(TonedView, inherit_bindings=False):
    """Shows what a drawing function returns; lines that did not change are not drawn again. It scrolls by the keys of lists."""

    BINDINGS = bindings(Scope.TABLE)

    def __init__(
        self,
        draw: DrawLines | None = None,
        *,
        id: str | None = None,
        classes: str = "",
        focusable: bool = False,
    ) -> None:
        super().__init__(id=id, classes=classes)
        self.can_focus = focusable
        self._draw = draw
        self._now = 0
        self._lines: list[Line] = []

    def show(self, draw: DrawLines, now: int) -> None:
        """Draw this from now on."""
        self._draw = draw
        self.tick(now)

    def tick(self, now: int) -> None:
        """Time went on: draw again where that changes anything."""
        self._now = now
        if self._draw is None or not self.size.width:
            return
        before, self._lines = self._lines, self._draw(now, self.size.width)
        if len(self._lines) > self.size.height:  # the scroll bar takes the last cell
            self._lines = self._draw(now, self.size.width - 1)
        if len(before) != len(self._lines):
            self.virtual_size = Size(self.size.width, len(self._lines))
            self.refresh(layout=self.styles.height is not None and self.styles.height.is_auto)
            return
        for y, (old, new) in enumerate(zip(before, self._lines, strict=True)):
            if old != new:
                self.refresh_line(y)

    def action_move(self, count: int) -> None:
        self.scroll_relative(y=count, animate=False)

    def action_page(self, count: int) -> None:
        self.scroll_relative(y=count * max(self.size.height - 1, 1), animate=False)

    def action_first(self) -> None:
        self.scroll_home(animate=False)

    def action_last(self) -> None:
        self.scroll_end(animate=False)

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:
        return len(self._draw(self._now, width)) if self._draw is not None else 0

    def render_line(self, y: int) -> Strip:
        index = int(self.scroll_offset.y) + y
        if index >= len(self._lines):
            return Strip.blank(self.size.width, self.rich_style)
        return self.strip(self._lines[index], self.size.width)

    def _on_resize(self, event: events.Resize) -> None:
        self.tick(self._now)
        self.refresh()
