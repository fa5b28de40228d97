"""One node: is it ready, is it heard, which drivers are on it, which FUSE daemons serve there."""

from csitrace.lifecycle.nodes import Daemon, NodeView
from csitrace.lifecycle.onnode import OnNode, count
from csitrace.tui.fuse import PROCESS_STATES
from csitrace.tui.keys import Scope, bindings
from csitrace.tui.lines import Line, Tone, fit, line, shorten_middle
from csitrace.tui.overviews import DRIVERS_OF_NODE, UNKNOWN, YES, finding_lines, labelled
from csitrace.tui.place import PlaceScreen
from csitrace.tui.places import Place, Wanted
from csitrace.tui.signs import SEVERITY
from csitrace.tui.text import clock_text, seconds_text
from csitrace.tui.watched import Watched


class NodeScreen(PlaceScreen[NodeView]):
    BINDINGS = bindings(Scope.NODE)
    noun, columns = "node", DRIVERS_OF_NODE

    def __init__(self, watched: Watched, name: str) -> None:
        super().__init__(watched, Scope.NODE, name)

    def find(self) -> NodeView | None:
        return next((view for view in self.watched.nodes() if view.name == self.name_shown), None)

    def title_lines(self, view: NodeView, now: int, width: int) -> list[Line]:
        versions = "   ".join(text for text in (view.kubelet_version, view.kernel_version) if text)
        title = line(
            " ",
            SEVERITY[view.severity],
            " node ",
            (view.name, Tone.STRONG),
            f"   {view.status}   ",
            (versions, Tone.DIM),
        )
        return [fit(title, width)]

    def about_lines(self, view: NodeView, now: int, width: int) -> list[Line]:
        return about_lines(view, now, width)

    def meetings(self, view: NodeView) -> tuple[OnNode, ...]:
        return view.drivers

    def rest_lines(self, view: NodeView, now: int, width: int) -> list[Line]:
        return daemon_lines(view, width)

    def other(self, here: OnNode) -> Wanted:
        return Wanted(Place.DRIVER, here.driver)


def about_lines(view: NodeView, now: int, width: int) -> list[Line]:
    """Everything about a node but its drivers and daemons."""
    lines = finding_lines(view.findings, width)
    lines += labelled("status", [_status(view, now)], width)
    if view.taints:
        lines += labelled("taints", [line((", ".join(view.taints), Tone.UNKNOWN))], width)
    lines += labelled("kubelet", [_kubelet(view, now)], width)
    lines += labelled("kernel", [_kernel(view, now)], width)
    return [*lines, *labelled("volumes", [_volumes(view)], width)]


def _status(view: NodeView, now: int) -> Line:
    if view.unseen:
        return line(UNKNOWN, (f" unknown: {view.unseen}", Tone.UNKNOWN))
    since = f" for {seconds_text(now - view.ready_since)}" if view.ready_since is not None else ""
    cordoned = (
        (", cordoned: no new pods are scheduled to it", Tone.UNKNOWN) if view.cordoned else ("", Tone.PLAIN)
    )
    reason = (f": {view.ready_reason}", Tone.BAD) if view.ready_reason else ("", Tone.PLAIN)
    word = view.status.partition(",")[0]
    return line(YES if view.ready else ("✗", Tone.BAD), f" {word}{since}", reason, cordoned)


def _kubelet(view: NodeView, now: int) -> Line:
    if view.renewed_at is None:
        return line(UNKNOWN, (f" unknown when it last renewed its Lease: {view.lease_silence}", Tone.UNKNOWN))
    age = f"renewed its Lease {seconds_text(now - view.renewed_at)} ago"
    return line(("✗ ", Tone.BAD), (f"{age}, not in time", Tone.BAD)) if view.expired else line(YES, f" {age}")


def _kernel(view: NodeView, now: int) -> Line:
    if view.kernel:
        return line(YES, " heard: mounts, FUSE connections and their daemons are as the kernel has them")
    last = (
        f", last at {clock_text(view.kernel_last_at)[:8]}"
        if view.kernel is False and view.kernel_last_at
        else ""
    )
    return line(UNKNOWN, (f" not heard{last}: {view.kernel_silence}", Tone.UNKNOWN))


def _volumes(view: NodeView) -> Line:
    in_use = "unknown" if view.in_use is None else f"{view.in_use}"
    mounts = "unknown" if view.mounts is None else count(view.mounts, "mount")
    trouble = (f", {view.troubled} in trouble", Tone.BAD) if view.troubled else ("", Tone.PLAIN)
    told = f"; Kubernetes has {view.attached} attached, kubelet {in_use} in use, the kernel {mounts}"
    return line(f"{count(view.volumes, 'volume')} here or on the way", trouble, told)


def daemon_lines(view: NodeView, width: int) -> list[Line]:
    """The FUSE daemons of a node, those in trouble first."""
    if not view.daemons:
        return []
    name_width = min(max(len(daemon.volume) for daemon in view.daemons), max(width // 3, 20))
    heading = f" {'FUSE DAEMONS':<{name_width + 4}}{'PID':>8}  {'WAIT':>4}  {'STATE':<10} "
    lines = [line((heading, Tone.TITLE), ("POD, AND WHAT IS WRONG", Tone.TITLE))]
    if not view.kernel:
        lines.append(line((" ? as last told: nobody tells of them now", Tone.UNKNOWN)))
    return [*lines, *(_daemon(daemon, name_width, width, bool(view.kernel)) for daemon in view.daemons)]


def _daemon(daemon: Daemon, name_width: int, width: int, heard: bool) -> Line:
    told_of = heard and (bool(daemon.pid) or daemon.waiting is not None)
    sign = ("✗", Tone.BAD) if daemon.trouble else YES if told_of else UNKNOWN
    name = fit(
        line(shorten_middle(daemon.volume or f"connection {daemon.connection}", name_width)), name_width
    )
    waiting = "?" if daemon.waiting is None else f"{daemon.waiting}"
    state = "gone" if daemon.ended else PROCESS_STATES.get(daemon.state, "?")
    where = (f"{daemon.pod}  " if daemon.pod else "", Tone.DIM)
    told = f"  {daemon.pid or '?':>8}  {waiting:>4}  {state:<10.10} "
    return fit(line(" ", sign, " ", name, told, where, (daemon.trouble, Tone.BAD)), width)
