"""The list of volumes, the worst first."""

from collections.abc import Sequence

from csitrace.lifecycle.filter import Filter, parse_volume_filter
from csitrace.lifecycle.views import Severity, VolumeRow
from csitrace.tui.empty import no_volumes_lines
from csitrace.tui.keys import Scope, bindings
from csitrace.tui.lines import Line, Tone, line, wrap
from csitrace.tui.listing import ListScreen
from csitrace.tui.places import Place, Wanted
from csitrace.tui.rows import COLUMNS, FINDING_TONES, ORDERS
from csitrace.tui.signs import SEVERITY_WORDS
from csitrace.tui.watched import Overview, Watched


class VolumesScreen(ListScreen[VolumeRow]):
    """One row per volume; below it the verdict on the volume under the cursor."""

    BINDINGS = bindings(Scope.VOLUMES)
    columns, orders, noun = COLUMNS, ORDERS, "volume"
    example = "driver:ebs and stuck>30s and not ns:dev"
    read = staticmethod(parse_volume_filter)

    def __init__(self, watched: Watched, chosen: Filter[VolumeRow], hint: str = "") -> None:
        super().__init__(watched, Scope.VOLUMES, chosen)
        self._hint = hint

    def rows(self, overview: Overview) -> Sequence[VolumeRow]:
        return overview.rows

    def identity(self, row: VolumeRow) -> object:
        return row.key

    def severity(self, row: VolumeRow) -> Severity:
        return row.severity

    def empty_lines(self) -> list[Line]:
        return no_volumes_lines(self._overview)

    def hints(self) -> list[Line]:
        return [line((self._hint, Tone.DIM))] if self._hint and not self.filter else []

    def word_lines(self, row: VolumeRow, now: int, width: int, height: int) -> list[Line]:
        return verdict_lines(row, width, height)

    def open_row(self, row: VolumeRow) -> None:
        self.post_message(Wanted(Place.VOLUME, row.key))

    def action_copy(self) -> None:
        row = self.table.row
        self.copy(row.verdict.command if row is not None else "")

    def action_driver(self) -> None:
        if (row := self.table.row) is not None:
            self.post_message(Wanted(Place.DRIVER, row.driver))

    def action_node(self) -> None:
        if (row := self.table.row) is not None:
            self.post_message(Wanted(Place.NODE, next(iter(row.node_names), "")))


def verdict_lines(row: VolumeRow, width: int, height: int) -> list[Line]:
    """The verdict on one volume in at most `height` lines: the sentence, then what to run."""
    verdict = row.verdict
    tone = FINDING_TONES.get(row.severity, Tone.PLAIN)
    lines = wrap(line(" ", (verdict.sentence or SEVERITY_WORDS[row.severity], tone)), width - 1, indent=1)
    if verdict.command and len(lines) < height:
        lines.append(line(" y ", (verdict.command, Tone.STRONG)))
    return lines[:height]
