"""One driver or one node: what is known of it, above a table of where it meets the others."""

from collections.abc import Sequence
from typing import Generic, TypeVar

from textual.app import ComposeResult

from csitrace.lifecycle.onnode import OnNode
from csitrace.tui.block import Block
from csitrace.tui.columns import Column
from csitrace.tui.keys import Scope
from csitrace.tui.lines import Line, Tone, line
from csitrace.tui.places import Place, Wanted
from csitrace.tui.screen import WatchScreen
from csitrace.tui.table import Table
from csitrace.tui.watched import Overview, Watched

View = TypeVar("View")


class PlaceScreen(WatchScreen, Generic[View]):
    """The thing called `name`. At a moment at which there is none, what was shown last stays, and that is said."""

    noun: str
    columns: Sequence[Column[OnNode]]

    def __init__(self, watched: Watched, scope: Scope, name: str) -> None:
        super().__init__(watched, scope)
        self.name_shown = name
        self._view: View | None = None

    def find(self) -> View | None:
        """It at this moment; None where nothing names it."""
        raise NotImplementedError

    def title_lines(self, view: View, now: int, width: int) -> list[Line]:
        raise NotImplementedError

    def about_lines(self, view: View, now: int, width: int) -> list[Line]:
        raise NotImplementedError

    def meetings(self, view: View) -> tuple[OnNode, ...]:
        """The rows of the table."""
        raise NotImplementedError

    def rest_lines(self, view: View, now: int, width: int) -> list[Line]:
        """What is below the table."""
        return []

    def other(self, here: OnNode) -> Wanted:
        """Where Enter on a row leads."""
        raise NotImplementedError

    def compose_body(self) -> ComposeResult:
        yield Block(id="title")
        yield Block(id="about", focusable=True)
        yield Table(
            self.columns, lambda here: (here.driver, here.node_name), empty=self._nowhere, id="meetings"
        )
        yield Block(id="rest", focusable=True)

    def on_mount(self) -> None:
        self.table.focus()

    @property
    def table(self) -> Table[OnNode]:
        return self.query_one("#meetings", Table)

    def show(self, overview: Overview) -> None:
        super().show(overview)
        found = self.find()
        missing, self._view = found is None, found or self._view
        view = self._view
        if view is None:
            self.query_one("#title", Block).show(lambda now, width: [self._missing()], overview.now)
            return
        self.query_one("#title", Block).show(
            lambda now, width: [self._missing()] if missing else self.title_lines(view, now, width),
            overview.now,
        )
        self.query_one("#about", Block).show(
            lambda now, width: self.about_lines(view, now, width), overview.now
        )
        self.table.show(self.meetings(view), overview.now, stale=missing or overview.stale_since is not None)
        rest = self.query_one("#rest", Block)
        rest.show(lambda now, width: self.rest_lines(view, now, width), overview.now)
        rest.display = bool(self.rest_lines(view, overview.now, 80))
        self.table.set_class(not rest.display, "-alone")

    def tick(self, now: int) -> None:
        super().tick(now)
        self.query_one("#about", Block).tick(now)
        self.table.tick(now)

    def _missing(self) -> Line:
        return line((f" At this moment nothing names {self.noun} {self.name_shown}.", Tone.UNKNOWN))

    def _nowhere(self, now: int, width: int) -> list[Line]:
        return [line(("Nothing is known of it here.", Tone.DIM))]

    def on_table_opened(self) -> None:
        self.action_open()

    def action_open(self) -> None:
        if (here := self.table.row) is not None:
            self.post_message(self.other(here))

    def action_back(self) -> None:
        self.app.pop_screen()

    def action_part(self) -> None:
        """The next part of the screen gets the keys."""
        self.focus_next()

    def action_volumes(self) -> None:
        self.post_message(Wanted(Place.VOLUMES, f"{self.noun}={self.name_shown}"))
