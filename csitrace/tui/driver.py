"""One CSI driver: its settings, who leads, its pods, its calls, and the nodes it is on."""

from csitrace.lifecycle.drivers import DriverView, Leader, settings
from csitrace.lifecycle.onnode import DriverPod, OnNode, count
from csitrace.tui.keys import Scope, bindings
from csitrace.tui.lines import Line, Tone, fit, line
from csitrace.tui.overviews import NODES_OF_DRIVER, UNKNOWN, YES, finding_lines, labelled
from csitrace.tui.place import PlaceScreen
from csitrace.tui.places import Place, Wanted
from csitrace.tui.signs import SEVERITY
from csitrace.tui.text import seconds_text
from csitrace.tui.watched import Watched

_SHOWN_PODS = 6


class DriverScreen(PlaceScreen[DriverView]):
    BINDINGS = bindings(Scope.DRIVER)
    noun, columns = "driver", NODES_OF_DRIVER

    def __init__(self, watched: Watched, name: str) -> None:
        super().__init__(watched, Scope.DRIVER, name)

    def find(self) -> DriverView | None:
        return next((view for view in self.watched.drivers() if view.name == self.name_shown), None)

    def title_lines(self, view: DriverView, now: int, width: int) -> list[Line]:
        return [
            fit(
                line(
                    " ",
                    SEVERITY[view.severity],
                    " driver ",
                    (view.name, Tone.STRONG),
                    "   ",
                    volumes_line(view),
                ),
                width,
            )
        ]

    def about_lines(self, view: DriverView, now: int, width: int) -> list[Line]:
        return about_lines(view, now, width)

    def meetings(self, view: DriverView) -> tuple[OnNode, ...]:
        return view.nodes

    def other(self, here: OnNode) -> Wanted:
        return Wanted(Place.NODE, here.node_name)


def volumes_line(view: DriverView) -> Line:
    where = (
        "unknown on which nodes"
        if view.registered is None
        else f"on {view.registered} of {count(len(view.nodes), 'node')}"
    )
    trouble = (f", {view.troubled} in trouble", Tone.BAD) if view.troubled else ("", Tone.PLAIN)
    return line(count(view.volumes, "volume"), trouble, f", {where}")


def about_lines(view: DriverView, now: int, width: int) -> list[Line]:
    """Everything about a driver but its nodes."""
    lines = finding_lines(view.findings, width)
    lines += labelled("leads", _leaders(view, now), width)
    lines += labelled("pods", _pods(view), width)
    if view.feeds[1]:
        lines += labelled("calls", [_calls(view, now)], width)
    lines += labelled("set to", _settings(view), width)
    return lines + labelled("classes", [_classes(view)], width)


def _classes(view: DriverView) -> Line:
    if not view.classes and view.classes_unknown:
        return _unknown(view.classes_unknown)
    return line(", ".join(view.classes) or ("none", Tone.DIM))


def _leaders(view: DriverView, now: int) -> list[Line]:
    if view.leaders_unknown:
        return [_unknown(view.leaders_unknown)]
    return [_leader(leader, now) for leader in view.leaders]


def _leader(leader: Leader, now: int) -> Line:
    name = f"{leader.sidecar:<21}"
    if not leader.holder:
        return line(("✗ ", Tone.BAD), name, ("nobody holds its Lease", Tone.BAD))
    age = (
        f"renewed {seconds_text(now - leader.renewed_at)} ago"
        if leader.renewed_at is not None
        else "never renewed"
    )
    where = f" on {leader.node_name}" if leader.node_name else ""
    who = f"{leader.pod or leader.holder}{where}  "
    if leader.expired:
        return line(("✗ ", Tone.BAD), name, who, (f"{age}: not in time, so nobody leads", Tone.BAD))
    return line(YES, " ", name, who, (age, Tone.DIM))


def _pods(view: DriverView) -> list[Line]:
    if view.pods_unknown:
        return [_unknown(view.pods_unknown)]
    lines = []
    for role, roles in (("controller", ("controller",)), ("node", ("node",)), ("other", ())):
        pods = [pod for pod in view.pods if (role in pod.roles if roles else not pod.roles)]
        if not pods:
            continue
        well = sum(not pod.trouble for pod in pods)
        shown = sorted(pods, key=lambda pod: not pod.trouble)[:_SHOWN_PODS]
        more = f" and {len(pods) - len(shown)} more" if len(pods) > len(shown) else ""
        sign = YES if well == len(pods) else ("!", Tone.UNKNOWN)
        lines.append(
            line(
                sign,
                f" {role}: {well} of {len(pods)} ready  ",
                (", ".join(map(_pod, shown)) + more, Tone.DIM),
            )
        )
    return lines


def _pod(pod: DriverPod) -> str:
    said = [
        text
        for text in (pod.node_name, count(pod.restarts, "restart") if pod.restarts else "", pod.trouble)
        if text
    ]
    return f"{pod.name} ({', '.join(said)})" if said else pod.name


def _calls(view: DriverView, now: int) -> Line:
    oldest = ""
    if view.oldest_call_at is not None:
        oldest = f" (the oldest for {seconds_text(now - view.oldest_call_at)}: {view.oldest_call})"
    failed = (f", {view.failed} of them failed", Tone.UNKNOWN) if view.failed else ("", Tone.PLAIN)
    return line(f"{view.in_flight} in flight{oldest}; {view.answered} answered in the last 5 minutes", failed)


def _settings(view: DriverView) -> list[Line]:
    if view.spec is None:
        return [_unknown(view.undeclared)]
    parts: list[Line] = []
    for name, value, meaning in settings(view):
        said = f" ({meaning})" if meaning else ""
        parts.append(line(("  " if parts else "") + f"{name}=", (value, Tone.STRONG), (said, Tone.DIM)))
    return [line(*parts)]


def _unknown(reason: str) -> Line:
    return line(UNKNOWN, (f" unknown: {reason}", Tone.UNKNOWN))
