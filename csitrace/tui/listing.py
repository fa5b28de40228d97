"""What the lists of volumes, drivers and nodes share: a table with orders, a filter, a word on the row under the cursor."""

from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from textual.app import ComposeResult

from csitrace.lifecycle.filter import Filter
from csitrace.lifecycle.views import Severity
from csitrace.tui.arrangement import Arrangement, Order, next_problem
from csitrace.tui.block import Block
from csitrace.tui.columns import Column
from csitrace.tui.filterbar import FilterBar
from csitrace.tui.keys import Scope
from csitrace.tui.lines import Line, Tone, line
from csitrace.tui.screen import WatchScreen
from csitrace.tui.table import Table
from csitrace.tui.text import clock_text
from csitrace.tui.watched import Overview, Watched

Row = TypeVar("Row")


class ListScreen(WatchScreen, Generic[Row]):
    """One row per thing. `noun`: what a row is called; `read`: its filter language; `example`: a filter to learn from."""

    columns: Sequence[Column[Row]]
    orders: Sequence[Order[Row]]
    noun: str
    example: str
    read: Callable[[str], Filter[Row]]

    def __init__(self, watched: Watched, scope: Scope, chosen: Filter[Row]) -> None:
        super().__init__(watched, scope)
        self.filter = self._first_filter = chosen
        self.order = self.orders[0]
        self._arrangement = Arrangement(self.identity)
        self._overview = watched.overview()
        self._rows: Sequence[Row] = ()

    def rows(self, overview: Overview) -> Sequence[Row]:
        """All rows at this moment."""
        raise NotImplementedError

    def identity(self, row: Row) -> object:
        """What names a row from one moment to the next."""
        raise NotImplementedError

    def severity(self, row: Row) -> Severity:
        raise NotImplementedError

    def word_lines(self, row: Row, now: int, width: int, height: int) -> list[Line]:
        """A few lines on one row, below the table."""
        raise NotImplementedError

    def empty_lines(self) -> list[Line]:
        """What is said where there are no rows at all."""
        raise NotImplementedError

    def open_row(self, row: Row) -> None:
        """Enter was pressed on a row."""
        raise NotImplementedError

    def compose_body(self) -> ComposeResult:
        yield Block(id="view")
        yield Table(self.columns, self.identity, empty=self._empty, id="rows")
        yield Block(id="word")
        yield FilterBar(self.read, self.example)

    def on_mount(self) -> None:
        self.table.focus()

    @property
    def table(self) -> Table[Row]:
        return self.query_one("#rows", Table)

    def show(self, overview: Overview) -> None:
        super().show(overview)
        self._overview, self._rows = overview, self.rows(overview)
        shown = self._arrangement.arrange(self._rows, self.order, self.filter, overview.now)
        self.table.show(shown, overview.now, stale=overview.stale_since is not None)
        self.query_one("#view", Block).show(self._view_lines, overview.now)
        self._show_word()

    def tick(self, now: int) -> None:
        super().tick(now)
        self.table.tick(now)

    def _empty(self, now: int, width: int) -> list[Line]:
        count = len(self._rows)
        if not count:
            return self.empty_lines()
        return [
            line((f"No {self.noun} matches the filter ", Tone.STRONG), (self.filter.text, Tone.UNKNOWN)),
            line(),
            line(f"It hides {count:,} {self.noun}{'s' if count != 1 else ''}. Esc shows all again, / changes it."),
        ]  # fmt: skip

    def _view_lines(self, now: int, width: int) -> list[Line]:
        """How the list differs from "all, worst first, live", and what else is said; nothing when there is nothing to say."""
        parts: list[Line] = []
        if (since := self._overview.stale_since) is not None:
            parts.append(line((f"as of {clock_text(since)}: Kubernetes is not heard since", Tone.UNKNOWN)))
        if self.filter:
            shown = f"  {len(self.table.rows):,} of {len(self._rows):,} {self.noun}s  "
            leaves = self.filter.text == self._first_filter.text and len(self.app.screen_stack) > 1
            escape = ("Esc: back" if leaves else "Esc: show more", Tone.DIM)
            parts.append(line("filter ", (self.filter.text, Tone.STRONG), shown, escape))
        if self.order is not self.orders[0]:
            parts.append(line((f"sorted by {self.order.name}", Tone.DIM)))
        parts += self.hints()
        return [line(" ", *(line(part, "   ") for part in parts))] if parts else []

    def hints(self) -> list[Line]:
        """What else is said over the table."""
        return []

    def _show_word(self) -> None:
        row = self.table.row
        height = 3 if self.has_class("-tall") else 2
        self.query_one("#word", Block).show(
            lambda now, width: self.word_lines(row, now, width, height) if row is not None else [],
            self._overview.now,
        )

    def on_table_moved(self) -> None:
        self._show_word()

    def on_table_opened(self) -> None:
        self.action_open()

    def action_open(self) -> None:
        if (row := self.table.row) is not None:
            self.open_row(row)

    def action_sort(self) -> None:
        self.order = self.orders[(self.orders.index(self.order) + 1) % len(self.orders)]
        self.show(self._overview)

    def action_next_problem(self) -> None:
        index = next_problem([self.severity(row) for row in self.table.rows], self.table.cursor)
        if index is None:
            self.notify(f"No {self.noun} is stuck, slow or unknown.")
        else:
            self.table.move_to(index)

    def action_filter(self) -> None:
        self.query_one(FilterBar).open(self.filter)

    def action_back(self) -> None:
        """Undo what differs from how the list was opened; where nothing does, leave it, or show all."""
        if self.filter.text == self._first_filter.text:
            if len(self.app.screen_stack) > 1:
                self.app.pop_screen()
                return
            self._first_filter = self.read("")
        self.filter = self._first_filter
        self.show(self._overview)

    def on_filter_bar_changed(self, message: FilterBar.Changed) -> None:
        self.filter = message.filter
        self.show(self._overview)
        if message.done:
            self.table.focus()
