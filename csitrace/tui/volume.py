"""One volume: why it stands where it stands, its steps, its witnesses, its FUSE side, its facts."""

from textual.app import ComposeResult
from textual.widgets import ContentSwitcher

from csitrace.tui.arrangement import next_problem
from csitrace.tui.block import Block
from csitrace.tui.frames import later
from csitrace.tui.keys import Scope, bindings
from csitrace.tui.lines import Line, Tone, line
from csitrace.tui.panes import EventsPane, FactWanted, FusePane, Pane, StepsPane, WhyPane, WitnessesPane
from csitrace.tui.places import Place, Wanted
from csitrace.tui.rows import ORDERS
from csitrace.tui.screen import WatchScreen
from csitrace.tui.tabs import Tabs
from csitrace.tui.watched import Detail, Overview, Watched
from csitrace.tui.why import title_lines, verdict_lines

PANES = ("Why", "Steps", "Witnesses", "FUSE", "Events")
_EVENTS = PANES.index("Events")


class VolumeScreen(WatchScreen):
    """The volume with `key`. When it goes, its last facts stay and are said to be the last."""

    BINDINGS = bindings(Scope.VOLUME)

    def __init__(self, watched: Watched, key: str) -> None:
        super().__init__(watched, Scope.VOLUME)
        self.key = key
        self._pod_uid = ""
        self._detail: Detail | None = None
        self._overview = watched.overview()

    def compose_body(self) -> ComposeResult:
        yield Block(id="title")
        yield Block(id="why")
        yield Tabs(PANES)
        with ContentSwitcher(initial="pane-0"):
            yield WhyPane(id="pane-0")
            yield StepsPane(id="pane-1")
            yield WitnessesPane(id="pane-2")
            yield FusePane(id="pane-3")
            yield EventsPane(self.watched, self.key, id="pane-4")

    def on_mount(self) -> None:
        self.pane.target().focus()

    @property
    def _index(self) -> int:
        return int((self.query_one(ContentSwitcher).current or "pane-0").removeprefix("pane-"))

    @property
    def pane(self) -> Pane:
        """The pane that is shown."""
        return self.query_one(f"#pane-{self._index}", Pane)

    def show(self, overview: Overview) -> None:
        super().show(overview)
        self._overview = overview
        detail = self.watched.detail(self.key, self._pod_uid)
        missing = detail is None
        self._detail = detail = detail or self._detail
        if detail is None:
            self.query_one("#why", Block).show(_never_seen, overview.now)
            return
        self.query_one("#title", Block).show(lambda now, width: title_lines(detail, now, width), detail.now)
        self.query_one("#why", Block).show(
            lambda now, width: _not_here(now, width) if missing else verdict_lines(detail, now, width),
            detail.now,
        )
        self._show_pane()

    def _show_pane(self) -> None:
        pane = self.pane
        if self._detail is not None:
            pane.show(self._detail, self._overview)
        if isinstance(pane, EventsPane) and not pane.complete:
            later(self, 0.02, self._show_pane)

    def action_back(self) -> None:
        pane = self.pane
        if not (isinstance(pane, EventsPane) and pane.undo_filter()):
            self.app.pop_screen()

    def action_pane(self, index: int) -> None:
        self.query_one(ContentSwitcher).current = f"pane-{index}"
        self.query_one(Tabs).choose(index)
        self._show_pane()
        self.pane.target().focus()

    def action_pane_by(self, count: int) -> None:
        self.action_pane((self._index + count) % len(PANES))

    def on_tabs_chosen(self, message: Tabs.Chosen) -> None:
        self.action_pane(message.index)

    def action_open(self) -> None:
        self.pane.open()

    def on_table_opened(self) -> None:
        self.action_open()

    def on_fact_wanted(self, message: FactWanted) -> None:
        if not message.seq:
            self.notify("No fact stands behind this: it tells of something that was not seen.")
            return
        self.action_pane(_EVENTS)
        self.query_one(EventsPane).go_to(message.seq)

    def action_way_back(self) -> None:
        self.action_pane(PANES.index("Steps"))
        self.query_one(StepsPane).turn()
        self._show_pane()

    def action_filter(self) -> None:
        self.action_pane(_EVENTS)
        self.query_one(EventsPane).start_filter()

    def action_next_pod(self) -> None:
        detail = self._detail
        uids = [use.pod_uid for use in detail.volume.uses] if detail is not None else []
        if detail is None or len(uids) < 2:
            self.notify("No other pod uses this volume.")
            return
        shown = uids.index(detail.use.pod_uid) if detail.use is not None else -1
        self._pod_uid = uids[(shown + 1) % len(uids)]
        self.show(self._overview)

    def action_next_problem(self) -> None:
        rows = sorted(self._overview.rows, key=ORDERS[0].key)
        here = next((index for index, row in enumerate(rows) if row.key == self.key), -1)
        index = next_problem([row.severity for row in rows], here)
        if index is None or rows[index].key == self.key:
            self.notify("No other volume is stuck, slow or unknown.")
        else:
            self.app.switch_screen(VolumeScreen(self.watched, rows[index].key))

    def action_driver(self) -> None:
        self.post_message(Wanted(Place.DRIVER, self._detail.row.driver if self._detail is not None else ""))

    def action_node(self) -> None:
        """The node of the pod that is looked at, else any it is on."""
        names: list[str] = []
        if (detail := self._detail) is not None:
            names = [detail.use.node_name] if detail.use is not None else []
            names += detail.row.node_names
        self.post_message(Wanted(Place.NODE, next((name for name in names if name), "")))

    def action_copy(self) -> None:
        command = self._detail.row.verdict.command if self._detail is not None else ""
        self.copy(command)


def _not_here(now: int, width: int) -> list[Line]:
    return [
        line(
            (" WHY   ", Tone.TITLE),
            ("At this moment there is no such volume. Below is what was shown last.", Tone.UNKNOWN),
        )
    ]


def _never_seen(now: int, width: int) -> list[Line]:
    return [line((" At this moment there is no such volume. Esc goes back to the list.", Tone.UNKNOWN))]
