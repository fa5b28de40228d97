"""A table that draws only what is visible, and redraws only the visible lines that changed."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, TypeVar

from rich.style import Style
from textual import events
from textual.geometry import Region, Size
from textual.message import Message
from textual.reactive import reactive
from textual.strip import Strip

from csitrace.tui.block import DrawLines
from csitrace.tui.columns import GAP, Column, Placed, place
from csitrace.tui.keys import Scope, bindings
from csitrace.tui.lines import Line, Span, Tone, dimmed, fit, line, wrap
from csitrace.tui.toned import TonedView

Row = TypeVar("Row")

_HEADER = 1


class Table(TonedView, Generic[Row], can_focus=True, inherit_bindings=False):
    """Rows of one type under a header that stays. Rows are any sequence, so a million of them may be read lazily.

    The cursor stays on the same row (by key) when the order changes. Until the user moves it, it rests on the first line,
    which is where the worst is (`rest_last`: on the last, which is where the newest is).
    """

    BINDINGS = bindings(Scope.TABLE)
    COMPONENT_CLASSES: ClassVar[set[str]] = {"table--header", "table--cursor"}
    DEFAULT_CSS = """
    Table {
        & > .table--header { color: $text-muted; text-style: underline; }
        & > .table--cursor { background: $surface-lighten-2; }
        &:focus > .table--cursor { background: $primary-muted; text-style: bold; }
    }
    """

    cursor: reactive[int] = reactive(0, repaint=False)

    @dataclass
    class Moved(Message):
        """The cursor is on another row."""

        table: "Table[Any]"

        @property
        def control(self) -> "Table[Any]":
            return self.table

    @dataclass
    class Opened(Message):
        """The row under the cursor was chosen (Enter, or a double click)."""

        table: "Table[Any]"

        @property
        def control(self) -> "Table[Any]":
            return self.table

    def __init__(
        self,
        columns: Sequence[Column[Row]],
        key: Callable[[Row], object],
        *,
        empty: DrawLines | None = None,
        rest_last: bool = False,
        id: str | None = None,  # Textual's own name for it
    ) -> None:
        super().__init__(id=id)
        self._columns = columns
        self._key = key
        self._empty = empty
        self._rest_last = rest_last
        self._rows: Sequence[Row] = ()
        self._now = 0
        self._stale = False
        self._placed: tuple[Placed[Row], ...] = ()
        self._placed_width = -1
        self._held: object = None  # key of the row the user put the cursor on; None: nobody did yet
        self._empty_lines: list[Line] = []
        self.lines_drawn = 0

    @property
    def rows(self) -> Sequence[Row]:
        return self._rows

    @property
    def row(self) -> Row | None:
        """The row under the cursor; None in an empty table."""
        return self._rows[self.cursor] if self.cursor < len(self._rows) else None

    def show(self, rows: Sequence[Row], now: int, *, stale: bool = False) -> None:
        """Draw these rows from now on. Lines whose row is equal to the one before are not drawn again.

        `stale`: what the rows tell may no longer be so; they are drawn dim.
        """
        before, self._rows, self._now = self._rows, rows, now
        top, under = int(self.scroll_offset.y), self._under_cursor()
        if len(rows) != len(before):
            self.virtual_size = Size(self.size.width, len(rows) + _HEADER)
        if self._held is None and self._rest_last:
            self.scroll_to(y=len(rows), animate=False, immediate=True)
        elif top and under != self.cursor:
            self.scroll_to(y=max(0, top + under - self.cursor), animate=False, immediate=True)
        same = under == self.cursor and under < min(len(rows), len(before)) and rows[under] == before[under]
        self._set_cursor(under)
        if rows and before and stale == self._stale:
            self._refresh_changed(before)
        else:
            self._stale = stale
            self.refresh()
        if not same:
            self.post_message(self.Moved(self))

    def tick(self, now: int) -> None:
        """Time went on: draw the columns that show it, and nothing else."""
        self._now = now
        if not self._rows:
            self.refresh()
            return
        for placed in self._place():
            if placed.column.ticks:
                self.refresh(Region(placed.left, _HEADER, placed.width, max(self.size.height - _HEADER, 0)))

    def move_to(self, index: int) -> None:
        """Put the cursor on a row as the user does: it then stays with that row."""
        if not self._rows:
            return
        index = max(0, min(index, len(self._rows) - 1))
        self._held = self._key(self._rows[index])
        self._set_cursor(index)
        self._scroll_to_cursor()
        self.post_message(self.Moved(self))

    def hold(self, key: object) -> None:
        """Put the cursor on the row with this key, now or when it comes."""
        self._held = key
        if self._rows:
            self.move_to(self._find(key, near=self.cursor))

    def release(self) -> None:
        """Let the cursor go back to where it rests, until it is moved again."""
        self._held = None
        self._set_cursor(self._under_cursor())
        self._scroll_to_cursor()
        self.post_message(self.Moved(self))

    def action_move(self, lines: int) -> None:
        self.move_to(self.cursor + lines)

    def action_page(self, pages: int) -> None:
        self.action_move(pages * max(self.size.height - _HEADER - 1, 1))

    def action_first(self) -> None:
        """The first line: if the cursor rests there, it stays there whatever comes."""
        self.move_to(0) if self._rest_last else self.release()

    def action_last(self) -> None:
        self.release() if self._rest_last else self.move_to(len(self._rows) - 1)

    def render_line(self, y: int) -> Strip:
        self.lines_drawn += 1
        width = self.size.width
        if not self._rows:
            return self._render_empty(y, width)
        if y == 0:
            return self._render_header(width)
        index = int(self.scroll_offset.y) + y - _HEADER
        if index >= len(self._rows):
            return Strip.blank(width, self.rich_style)
        row, now = self._rows[index], self._now
        spans = self._side_by_side(lambda placed: placed.column.cell(row, now, placed.width))
        spans = dimmed(spans) if self._stale else spans
        return self.strip(spans, width, self._cursor_style() if index == self.cursor else None)

    def _render_header(self, width: int) -> Strip:
        spans = self._side_by_side(lambda placed: line(placed.column.title))
        return self.strip(spans, width, self.get_component_rich_style("table--header", partial=True))

    def _place(self) -> tuple[Placed[Row], ...]:
        """The columns for the width there is, which a scroll bar that comes or goes changes without a resize."""
        width = self.scrollable_content_region.width
        if width != self._placed_width:
            self._placed, self._placed_width = place(self._columns, width), width
        return self._placed

    def _side_by_side(self, cell: Callable[[Placed[Row]], Line]) -> Line:
        spans: list[Span] = []
        for placed in self._place():
            if spans:
                spans.append((" " * GAP, Tone.PLAIN))
            spans.extend(fit(cell(placed), placed.width, placed.column.right))
        return tuple(spans)

    def _render_empty(self, y: int, width: int) -> Strip:
        if y == 0:
            told = self._empty(self._now, width - 4) if self._empty else []
            self._empty_lines = [part for spans in told for part in wrap(spans, width - 4)]
        index = y - 1
        spans = self._empty_lines[index] if 0 <= index < len(self._empty_lines) else ()
        return self.strip(line("  ", spans), width)

    def _cursor_style(self) -> Style:
        return self.get_component_rich_style("table--cursor", partial=True)

    def _under_cursor(self) -> int:
        """The row the cursor belongs on now: the one it was put on, else the one it rests on."""
        last = max(len(self._rows) - 1, 0)
        if self._held is None or not self._rows:
            return last if self._rest_last else 0
        return self._find(self._held, near=min(self.cursor, last))

    def _find(self, key: object, near: int) -> int:
        """Where the row with `key` is now; `near` (or the end) when it is gone."""
        rows = self._rows
        if near < len(rows) and self._key(rows[near]) == key:
            return near
        return next(
            (index for index, row in enumerate(rows) if self._key(row) == key), min(near, len(rows) - 1)
        )

    def _set_cursor(self, index: int) -> None:
        if index != self.cursor:
            for touched in (self.cursor, index):
                self._refresh_row(touched)
            self.cursor = index

    def _scroll_to_cursor(self) -> None:
        top, page = int(self.scroll_offset.y), max(self.size.height - _HEADER, 1)
        if self.cursor < top:
            self.scroll_to(y=self.cursor, animate=False, immediate=True)
        elif self.cursor >= top + page:
            self.scroll_to(y=self.cursor - page + 1, animate=False, immediate=True)

    def _refresh_changed(self, before: Sequence[Row]) -> None:
        top = int(self.scroll_offset.y)
        for index in range(top, top + max(self.size.height - _HEADER, 0)):
            old = before[index] if index < len(before) else None
            new = self._rows[index] if index < len(self._rows) else None
            if old is not new and old != new:
                self._refresh_row(index)

    def _refresh_row(self, index: int) -> None:
        y = index - int(self.scroll_offset.y) + _HEADER
        if _HEADER <= y < self.size.height:
            self.refresh(Region(0, y, self.size.width, 1))

    def _on_resize(self, event: events.Resize) -> None:
        self.virtual_size = Size(event.size.width, len(self._rows) + _HEADER)
        self.call_after_refresh(self._scroll_to_cursor)

    async def _on_click(self, event: events.Click) -> None:
        index = int(self.scroll_offset.y) + event.y - _HEADER
        if event.y < _HEADER or index >= len(self._rows):
            return
        # Between the two clicks the order may have changed: then this is another row, and not the one that is meant.
        again = event.chain > 1 and self._held == self._key(self._rows[index])
        self.move_to(index)
        if again:
            self.post_message(self.Opened(self))
