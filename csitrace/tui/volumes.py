"""The list of volumes, the worst first."""

from textual.app import ComposeResult

from csitrace.lifecycle.filter import Filter, parse_volume_filter
from csitrace.lifecycle.views import VolumeRow
from csitrace.tui.block import Block
from csitrace.tui.empty import empty_lines
from csitrace.tui.filterbar import FilterBar
from csitrace.tui.keys import Scope, bindings
from csitrace.tui.lines import Line, Tone, line, wrap
from csitrace.tui.rows import COLUMNS, FINDING_TONES, ORDERS, Arrangement, next_problem
from csitrace.tui.screen import WatchScreen
from csitrace.tui.signs import SEVERITY_WORDS
from csitrace.tui.table import Table
from csitrace.tui.text import clock_text
from csitrace.tui.volume import VolumeScreen
from csitrace.tui.watched import Overview, Watched


class VolumesScreen(WatchScreen):
    """One row per volume; below it the verdict on the volume under the cursor."""

    BINDINGS = bindings(Scope.VOLUMES)

    def __init__(self, watched: Watched, chosen: Filter[VolumeRow]) -> None:
        super().__init__(watched, Scope.VOLUMES)
        self.filter = chosen
        self.order = ORDERS[0]
        self._arrangement = Arrangement()
        self._overview = watched.overview()

    def compose_body(self) -> ComposeResult:
        yield Block(id="view")
        yield Table(COLUMNS, lambda row: row.key, empty=self._empty, id="volumes")
        yield Block(id="verdict")
        yield FilterBar(parse_volume_filter, "driver:ebs and stuck>30s and not ns:dev")

    def on_mount(self) -> None:
        self.table.focus()

    @property
    def table(self) -> Table[VolumeRow]:
        return self.query_one("#volumes", Table)

    def show(self, overview: Overview) -> None:
        super().show(overview)
        self._overview = overview
        rows = self._arrangement.arrange(overview.rows, self.order, self.filter, overview.now)
        self.table.show(rows, overview.now, stale=overview.stale_since is not None)
        self.query_one("#view", Block).show(self._view_lines, overview.now)
        self._show_verdict()

    def tick(self, now: int) -> None:
        super().tick(now)
        self.table.tick(now)

    def _empty(self, now: int, width: int) -> list[Line]:
        return empty_lines(self._overview, self.filter.text)

    def _view_lines(self, now: int, width: int) -> list[Line]:
        """How the list differs from "all, worst first, live"; nothing when it does not."""
        parts: list[Line] = []
        if (since := self._overview.stale_since) is not None:
            parts.append(line((f"as of {clock_text(since)}: Kubernetes is not heard since", Tone.UNKNOWN)))
        if self.filter:
            shown = f" {len(self.table.rows):,} of {len(self._overview.rows):,} shown"
            parts.append(line("filter ", (self.filter.text, Tone.STRONG), shown))
        if self.order is not ORDERS[0]:
            parts.append(line((f"sorted by {self.order.name}", Tone.DIM)))
        return [line(" ", *(line(part, "   ") for part in parts))] if parts else []

    def _show_verdict(self) -> None:
        row = self.table.row
        height = 3 if self.has_class("-tall") else 2
        self.query_one("#verdict", Block).show(
            lambda now, width: verdict_lines(row, width, height) if row is not None else [],
            self._overview.now,
        )

    def on_table_moved(self) -> None:
        self._show_verdict()

    def on_table_opened(self) -> None:
        self.action_open()

    def action_open(self) -> None:
        if (row := self.table.row) is not None:
            self.app.push_screen(VolumeScreen(self.watched, row.key))

    def action_sort(self) -> None:
        self.order = ORDERS[(ORDERS.index(self.order) + 1) % len(ORDERS)]
        self.show(self._overview)

    def action_next_problem(self) -> None:
        index = next_problem(self.table.rows, self.table.cursor)
        if index is None:
            self.notify("No volume is stuck, slow or unknown.")
        else:
            self.table.move_to(index)

    def action_copy(self) -> None:
        row = self.table.row
        self.copy(row.verdict.command if row is not None else "")

    def action_filter(self) -> None:
        self.query_one(FilterBar).open(self.filter)

    def action_clear_filter(self) -> None:
        self.filter = parse_volume_filter("")
        self.show(self._overview)

    def on_filter_bar_changed(self, message: FilterBar.Changed) -> None:
        self.filter = message.filter
        self.show(self._overview)
        if message.done:
            self.table.focus()


def verdict_lines(row: VolumeRow, width: int, height: int) -> list[Line]:
    """The verdict on one volume in at most `height` lines: the sentence, then what to run."""
    verdict = row.verdict
    tone = FINDING_TONES.get(row.severity, Tone.PLAIN)
    lines = wrap(line(" ", (verdict.sentence or SEVERITY_WORDS[row.severity], tone)), width - 1, indent=1)
    if verdict.command and len(lines) < height:
        lines.append(line(" y ", (verdict.command, Tone.STRONG)))
    return lines[:height]
