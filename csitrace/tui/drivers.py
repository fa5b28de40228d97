"""The list of CSI drivers: what each is set to, where it runs, who leads, and what is wrong with it."""

from collections.abc import Sequence

from csitrace.lifecycle.drivers import DriverView, parse_driver_filter
from csitrace.lifecycle.filter import Filter
from csitrace.lifecycle.views import Severity
from csitrace.tui.arrangement import Order
from csitrace.tui.columns import Column
from csitrace.tui.keys import Scope, bindings
from csitrace.tui.lines import Line, Tone, line, shorten_middle
from csitrace.tui.listing import ListScreen
from csitrace.tui.overviews import NO, UNKNOWN, YES, finding_line, finding_lines, ratio_line
from csitrace.tui.places import Place, Wanted
from csitrace.tui.signs import SEVERITY
from csitrace.tui.watched import Overview, Watched


def _name(view: DriverView, now: int, width: int) -> Line:
    return line(shorten_middle(view.name, width))


def _attach(view: DriverView, now: int, width: int) -> Line:
    return line(UNKNOWN if view.attach_required is None else "yes" if view.attach_required else "no")


def _volumes(view: DriverView, now: int, width: int) -> Line:
    return counted(view.volumes, view.troubled)


def counted(volumes: int, troubled: int) -> Line:
    """How many volumes, and how many of them are in trouble."""
    return line(f"{volumes:,}", (f" !{troubled:,}" if troubled else "", Tone.BAD))


def _nodes(view: DriverView, now: int, width: int) -> Line:
    if view.registered is None:
        return line(UNKNOWN)
    whole = view.registered == len(view.nodes)
    return line((f"{view.registered}/{len(view.nodes)}", Tone.PLAIN if whole else Tone.UNKNOWN))


def _leaders(view: DriverView, now: int, width: int) -> Line:
    if not view.leaders:
        return line(UNKNOWN)
    bad = [leader for leader in view.leaders if leader.expired or not leader.holder]
    if bad:
        name = bad[0].sidecar.removeprefix("external-")
        return line((f"✗ {name}", Tone.BAD), (f" +{len(bad) - 1}" if len(bad) > 1 else "", Tone.BAD))
    return line(YES, f" {len(view.leaders)} of {len(view.leaders)}")


def _pods(view: DriverView, now: int, width: int) -> Line:
    if not view.pods:
        return line(UNKNOWN)
    controllers = [pod for pod in view.pods if "controller" in pod.roles]
    nodes = [pod for pod in view.pods if "node" in pod.roles]
    bad = any(pod.trouble for pod in view.pods)
    return line((f"{len(controllers)}c {len(nodes)}n", Tone.UNKNOWN if bad else Tone.PLAIN))


def _fullest(view: DriverView, now: int, width: int) -> Line:
    fullest = view.fullest
    return line(ratio_line(fullest), (f" {fullest.node_name}" if fullest is not None else "", Tone.DIM))


def _feeds(view: DriverView, now: int, width: int) -> Line:
    up, total = view.feeds
    return line(NO) if not total else line((f"{up}/{total}", Tone.PLAIN if up == total else Tone.UNKNOWN))


def _calls(view: DriverView, now: int, width: int) -> Line:
    return line(f"{view.in_flight}" if view.feeds[1] else ("-", Tone.DIM))


def _failed(view: DriverView, now: int, width: int) -> Line:
    if not view.feeds[1]:
        return line(("-", Tone.DIM))
    rate = f"{100 * view.failed // view.answered}%" if view.answered else "-"
    return line((rate, Tone.UNKNOWN if view.failed else Tone.PLAIN))


def _finding(view: DriverView, now: int, width: int) -> Line:
    return finding_line(view.severity, view.finding, max(len(view.findings) - 1, 0))


COLUMNS: tuple[Column[DriverView], ...] = (
    Column("", lambda view, now, width: line(SEVERITY[view.severity]), 1, 1),
    Column("DRIVER", _name, 16, 18, weight=2),
    Column("ATTACH", _attach, 6, 6, priority=2),
    Column("VOLUMES", _volumes, 7, 8),
    Column("NODES", _nodes, 5, 6),
    Column("LEADERS", _leaders, 8, 13),
    Column("PODS", _pods, 5, 6, priority=3),
    Column("FULLEST", _fullest, 7, 12, priority=4),
    Column("FEEDS", _feeds, 5, 5, priority=1),
    Column("CALLS", _calls, 5, 5, priority=5, right=True),
    Column("FAIL", _failed, 4, 5, priority=6, right=True),
    Column("FINDING", _finding, 18, 26, weight=5),
)

ORDERS: tuple[Order[DriverView], ...] = (
    Order("worst first", lambda view: (-view.severity, view.name)),
    Order("name", lambda view: (view.name,)),
    Order("most volumes", lambda view: (-view.volumes, view.name)),
)


class DriversScreen(ListScreen[DriverView]):
    """One row per driver; below it what is wrong with the one under the cursor."""

    BINDINGS = bindings(Scope.DRIVERS)
    columns, orders, noun = COLUMNS, ORDERS, "driver"
    example = "class:fast or missing:n1 or volumes>100"
    read = staticmethod(parse_driver_filter)

    def __init__(self, watched: Watched, chosen: Filter[DriverView] | None = None) -> None:
        super().__init__(watched, Scope.DRIVERS, chosen or parse_driver_filter(""))

    def rows(self, overview: Overview) -> Sequence[DriverView]:
        return self.watched.drivers()

    def identity(self, row: DriverView) -> object:
        return row.name

    def severity(self, row: DriverView) -> Severity:
        return row.severity

    def empty_lines(self) -> list[Line]:
        return no_rows_lines(
            self._overview, ("CSIDriver", "CSINode", "StorageClass"), "CSI driver",
            "One appears as soon as a CSIDriver or a StorageClass names it, a node registers it, a volume is of it,",
            "or its feed is heard.",
        )  # fmt: skip

    def word_lines(self, row: DriverView, now: int, width: int, height: int) -> list[Line]:
        return finding_lines(row.findings, width)[:height]

    def open_row(self, row: DriverView) -> None:
        self.post_message(Wanted(Place.DRIVER, row.name))

    def action_volumes(self) -> None:
        if (row := self.table.row) is not None:
            self.post_message(Wanted(Place.VOLUMES, f"driver={row.name}"))


def no_rows_lines(overview: Overview, kinds: tuple[str, ...], noun: str, *hints: str) -> list[Line]:
    """Why there are no rows: what would tell of them may not be read, or there are none."""
    problems = [
        problem
        for view in overview.witnesses
        for problem in view.problems
        if problem.partition(":")[0] in kinds
    ]
    if problems:
        heading = f"Whether there is any {noun} is unknown:"
        return [
            line((heading, Tone.STRONG)),
            line(),
            *(line("  ", (problem, Tone.UNKNOWN)) for problem in problems),
        ]
    return [line((f"No {noun} is known.", Tone.STRONG)), line(), *(line(hint) for hint in hints)]
