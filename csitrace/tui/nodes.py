"""The list of nodes: which are ready, which are heard, what is mounted and served there, and what is wrong."""

from collections.abc import Sequence

from csitrace.lifecycle.filter import Filter
from csitrace.lifecycle.nodes import NodeView, parse_node_filter
from csitrace.lifecycle.views import Severity
from csitrace.tui.arrangement import Order
from csitrace.tui.columns import Column
from csitrace.tui.drivers import counted, no_rows_lines
from csitrace.tui.keys import Scope, bindings
from csitrace.tui.lines import Line, Tone, line, shorten_middle
from csitrace.tui.listing import ListScreen
from csitrace.tui.overviews import NO, UNKNOWN, YES, finding_line, finding_lines, ratio_line
from csitrace.tui.places import Place, Wanted
from csitrace.tui.signs import SEVERITY
from csitrace.tui.text import seconds_text
from csitrace.tui.watched import Overview, Watched

_NEVER = 1 << 62


def _status(view: NodeView, now: int, width: int) -> Line:
    bad = view.ready is not True and not view.unseen
    return line(
        (view.status, Tone.BAD if bad else Tone.UNKNOWN if view.cordoned or view.unseen else Tone.PLAIN)
    )


def _since(view: NodeView, now: int, width: int) -> Line:
    return line(seconds_text(now - view.ready_since) if view.ready_since is not None else ("-", Tone.DIM))


def _lease(view: NodeView, now: int, width: int) -> Line:
    if view.renewed_at is None:
        return line(UNKNOWN)
    return line((seconds_text(now - view.renewed_at), Tone.BAD if view.expired else Tone.PLAIN))


def _mounts(view: NodeView, now: int, width: int) -> Line:
    return line(UNKNOWN if view.mounts is None else f"{view.mounts}")


def _fuse(view: NodeView, now: int, width: int) -> Line:
    """How many daemons; how many of them are in trouble, and how many requests wait."""
    if not view.daemons:
        return line(NO if view.kernel else UNKNOWN)
    bad = sum(bool(daemon.trouble) for daemon in view.daemons)
    unsure = "" if view.kernel else "?"
    return line(f"{len(view.daemons)}{unsure}", (f" ✗{bad}" if bad else "", Tone.BAD))


def _waiting(view: NodeView, now: int, width: int) -> Line:
    return line((f"{view.waiting}", Tone.UNKNOWN) if view.waiting else ("-", Tone.DIM))


def _heard(view: NodeView, now: int, width: int) -> Line:
    return line(NO if view.kernel is None else YES if view.kernel else UNKNOWN)


def _drivers(view: NodeView, now: int, width: int) -> Line:
    return line(f"{sum(bool(driver.registered) for driver in view.drivers)}")


def _finding(view: NodeView, now: int, width: int) -> Line:
    return finding_line(view.severity, view.finding, max(len(view.findings) - 1, 0))


COLUMNS: tuple[Column[NodeView], ...] = (
    Column("", lambda view, now, width: line(SEVERITY[view.severity]), 1, 1),
    Column("NODE", lambda view, now, width: line(shorten_middle(view.name, width)), 10, 14, weight=2),
    Column("STATUS", _status, 8, 14),
    Column("FOR", _since, 6, 6, priority=2, right=True, ticks=True),
    Column("LEASE", _lease, 6, 6, priority=3, right=True, ticks=True),
    Column("VOLUMES", lambda view, now, width: counted(view.volumes, view.troubled), 7, 8),
    Column("FULLEST", lambda view, now, width: ratio_line(view.fullest), 7, 7, priority=1),
    Column("MOUNTS", _mounts, 6, 6, priority=4, right=True),
    Column("FUSE", _fuse, 4, 6),
    Column("WAIT", _waiting, 4, 4, priority=6, right=True),
    Column("HEARD", _heard, 5, 5),
    Column("DRIVERS", _drivers, 7, 7, priority=5, right=True),
    Column("FINDING", _finding, 18, 26, weight=6),
)

ORDERS: tuple[Order[NodeView], ...] = (
    Order("worst first", lambda view: (-view.severity, view.name)),
    Order("name", lambda view: (view.name,)),
    Order("most volumes", lambda view: (-view.volumes, view.name)),
    Order("latest change of Ready", lambda view: (-(view.ready_since or -_NEVER), view.name)),
)


class NodesScreen(ListScreen[NodeView]):
    """One row per node; below it what is wrong with the one under the cursor."""

    BINDINGS = bindings(Scope.NODES)
    columns, orders, noun = COLUMNS, ORDERS, "node"
    example = "status:notready or hung>0 or attached>20"
    read = staticmethod(parse_node_filter)

    def __init__(self, watched: Watched, chosen: Filter[NodeView] | None = None) -> None:
        super().__init__(watched, Scope.NODES, chosen or parse_node_filter(""))

    def rows(self, overview: Overview) -> Sequence[NodeView]:
        return self.watched.nodes()

    def identity(self, row: NodeView) -> object:
        return row.name

    def severity(self, row: NodeView) -> Severity:
        return row.severity

    def empty_lines(self) -> list[Line]:
        return no_rows_lines(
            self._overview, ("Node", "CSINode"), "node",
            "One appears as soon as there is a Node or CSINode object, a pod with a volume is bound to it, or it is heard.",
        )  # fmt: skip

    def word_lines(self, row: NodeView, now: int, width: int, height: int) -> list[Line]:
        return finding_lines(row.findings, width)[:height]

    def open_row(self, row: NodeView) -> None:
        self.post_message(Wanted(Place.NODE, row.name))

    def action_volumes(self) -> None:
        if (row := self.table.row) is not None:
            self.post_message(Wanted(Place.VOLUMES, f"node={row.name}"))
