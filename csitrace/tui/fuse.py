"""The FUSE side of a volume: is its daemon well, what is asked of it, how fast and how well does it answer."""

from collections.abc import Iterable, Sequence

from csitrace.lifecycle.daemon_pods import GONE, DaemonPod
from csitrace.lifecycle.fuse import rate, trouble
from csitrace.lifecycle.state import FuseState, StepStatus
from csitrace.model.events import FuseOpSampled, Stamp, Witness
from csitrace.model.fuse import OpCount
from csitrace.model.sizes import format_size
from csitrace.model.times import SECOND, format_duration
from csitrace.tui.lines import Line, Span, Tone, fit, line, wrap
from csitrace.tui.text import clock_text, latency_text, moment_text, seconds_text, sparkline
from csitrace.tui.watched import Detail

_LABEL = 10
PROCESS_STATES = {
    "R": "running",
    "S": "sleeping",
    "D": "in uninterruptible sleep",
    "Z": "dead, not reaped",
    "T": "stopped",
    "t": "stopped by a debugger",
    "I": "idle",
}
_SAMPLES_SHOWN = 20


def fuse_lines(detail: Detail, now: int, width: int) -> list[Line]:
    """Every FUSE connection of the volume."""
    if not detail.fuse:
        return [*_none(detail, width), *pod_lines(detail.daemon_pods, now, width)]
    told = {connection.daemon.pod_uid for connection in detail.fuse if connection.daemon is not None}
    lines = pod_lines([pod for pod in detail.daemon_pods if pod.uid not in told], now, width)
    for connection in detail.fuse:
        if lines:
            lines.append(line())
        lines += _connection_lines(connection, detail, now, width)
    return lines


def _none(detail: Detail, width: int) -> list[Line]:
    fs_types = sorted({fact.mount.fs_type for fact in detail.volume.mounts})
    if fs_types:
        why = f"Its mounts are of type {', '.join(fs_types)}: no FUSE daemon serves them."
    elif detail.row.phases[-1] in (StepStatus.DONE, StepStatus.UNKNOWN):
        why = "Nobody tells of its mounts: neither the kernel of its node nor the driver's feed (see Witnesses)."
    else:
        why = "It is not mounted: there is no daemon to tell of."
    heading = line((" No FUSE connection is known for this volume.", Tone.STRONG))
    return [line(), heading, line(), *wrap(line(f" {why}"), width - 1, 1)]


def _connection_lines(connection: FuseState, detail: Detail, now: int, width: int) -> list[Line]:
    node = connection.node_name
    title = line((f" CONNECTION {connection.connection} on {node}", Tone.TITLE), "   ")
    if _is_mounted(connection, detail):
        lines = [line(title, _init(connection))]
        if problem := trouble(connection, now):
            lines += wrap(line(" ", ("✗ ", Tone.BAD), (problem, Tone.BAD)), width - 1, indent=3)
    else:
        lines = [line(title, ("– unmounted; this is what was last known", Tone.DIM))]
    for witness, what in ((Witness.KERNEL, "daemon and requests"), (Witness.DRIVER, "counts and latencies")):
        if (last := detail.silent.get((witness, node))) is not None:
            lines.append(
                line((f" ? {what}: as of {clock_text(last)}, the {witness} is silent since", Tone.UNKNOWN))
            )
    process = connection.daemon
    pods = [pod for pod in detail.daemon_pods if process is not None and pod.uid == process.pod_uid]
    lines += [
        _labelled("daemon", _daemon(connection, now)),
        *pod_lines(pods, now, width),
        _labelled("requests", _requests(connection, now)),
    ]
    lines += [line(), *_table(connection, now, width, (Witness.DRIVER, node) in detail.silent)]
    if connection.samples:
        lines += [line(), line((" SLOW AND SAMPLED OPERATIONS", Tone.TITLE), ("  newest first", Tone.DIM))]
        lines += [
            _sample(at, sample, now) for at, _, sample in reversed(connection.samples[-_SAMPLES_SHOWN:])
        ]
    return lines


def pod_lines(pods: Iterable[DaemonPod], now: int, width: int) -> list[Line]:
    """The pods of daemons: where each runs, how it fares, how often it was started again, how it last ended."""
    lines: list[Line] = []
    for pod in pods:
        lines += wrap(_labelled("pod", _pod(pod, now)), width - 1, indent=_LABEL)
    return lines


def _pod(pod: DaemonPod, now: int) -> Line:
    if pod.unseen:
        return line(("? ", Tone.UNKNOWN), pod.full_name, (f" unknown: {pod.unseen}", Tone.UNKNOWN))
    words = [f"{pod.restarts} restart{'' if pod.restarts == 1 else 's'}"]
    if pod.last_exit:
        when = f" {seconds_text(now - pod.last_exit_at)} ago" if pod.last_exit_at is not None else ""
        words.append(f"last exit: {pod.last_exit}{when}")
    if pod.is_leaving:
        words.append("being deleted")
    well = pod.is_ready and not pod.trouble
    state = (
        pod.phase
        if well or pod.phase == GONE
        else f"{pod.phase or 'phase unknown'}, {pod.trouble or 'not ready'}"
    )
    where = f" on {pod.node_name}" if pod.node_name else ""
    sign = ("●", Tone.GOOD) if well else ("✗", Tone.BAD)
    return line(
        sign, f" {pod.full_name}{where}  ", (state, Tone.PLAIN if well else Tone.BAD), f", {', '.join(words)}"
    )


def _is_mounted(connection: FuseState, detail: Detail) -> bool:
    """Whether a mount of the volume is served by it; taken to be so while nobody tells of the node's mounts."""
    mounts = detail.volume.mounts
    served = any(
        m.node_name == connection.node_name and m.mount.minor == connection.connection for m in mounts
    )
    return served or (
        not mounts and detail.volume.gone_at is None and StepStatus.DONE in detail.row.phases[2:]
    )


def _labelled(label: str, words: Line) -> Line:
    return line(fit(line((f" {label}", Tone.DIM)), _LABEL), words)


def _init(connection: FuseState) -> Line:
    if connection.init_answered is None:
        return line(("? INIT: nobody knows whether it was answered", Tone.UNKNOWN))
    return (
        line(("●", Tone.GOOD), " INIT answered")
        if connection.init_answered
        else line(("✗ INIT not answered", Tone.BAD))
    )


def _daemon(connection: FuseState, now: int) -> Line:
    daemon = connection.daemon
    if daemon is None:
        return line(("? its process is not known", Tone.UNKNOWN))
    who = f"{daemon.name or 'process'} (pid {daemon.pid})"
    if daemon.exited:
        return line(("✗ ", Tone.BAD), (f"{who} {daemon.exited}", Tone.BAD))
    words = [PROCESS_STATES.get(daemon.state, daemon.state) or "state unknown"]
    if daemon.started_at is not None:
        words.append(f"up {seconds_text(now - daemon.started_at)}")
    if daemon.cpu_ns is not None:
        words.append(f"CPU time {format_duration(daemon.cpu_ns)}")
    if daemon.rss_bytes is not None:
        words.append(f"memory {format_size(daemon.rss_bytes)}")
    return line(f"{who} {', '.join(words)}")


def _requests(connection: FuseState, now: int) -> Line:
    if connection.waiting is None:
        waiting = line(("? how many wait is not known", Tone.UNKNOWN))
    elif connection.waiting == 0 or connection.waiting_since is None:
        waiting = line("none wait" if not connection.waiting else f"{connection.waiting} wait")
    else:
        waited = now - connection.waiting_since
        tone = Tone.BAD if waited >= SECOND else Tone.MOVING
        waiting = line((f"{connection.waiting} wait, never none for {seconds_text(waited)}", tone))
    parts: list[Line | str | Span] = [waiting]
    if connection.first_op_at is not None:
        parts.append(f"; first {moment_text(connection.first_op_at, Stamp.OBSERVED, now)}")
    if connection.last_op_at is not None:
        parts.append(f", last {seconds_text(now - connection.last_op_at)} ago")
    return line(*parts)


def _table(connection: FuseState, now: int, width: int, silent: bool) -> list[Line]:
    """A row for all operations, and one per kind, the most frequent first. `silent`: nobody counts now, so rates are unknown."""
    if not connection.totals:
        return [line((" No operation was counted yet.", Tone.DIM))]
    history = max(min(width - 68, 30), 8)
    past = f"{f'last {history}s':<{history}}"
    heading = f" {'OPERATION':<12}{'/s':>7}  {past}  {'p50':>6} {'p99':>6} {'total':>9} {'bytes':>8}  errors"
    lines = [line((heading, Tone.DIM))]
    everything = sum(connection.totals.values(), OpCount())
    ranked = sorted(connection.totals.items(), key=lambda item: (-item[1].count, item[0]))
    for name, total in (("", everything), *ranked):
        rates = None if silent else rate([connection], now, name)
        per_second = f"{rates.ops_per_second:,.1f}" if rates is not None else "?"
        p50, p99 = (rates.p50_ns, rates.p99_ns) if rates is not None else (None, None)
        bars = sparkline(_by_second(connection, name, now, history), history)
        errors = " ".join(
            f"{errno} {count:,}" for errno, count in sorted(total.errors.items(), key=lambda item: -item[1])
        )
        lines.append(line(
            fit(line((f" {name or 'all'}", Tone.PLAIN if name else Tone.STRONG)), 13), f"{per_second:>7}  ",
            (f"{bars:<{history}}", Tone.MOVING), f"  {latency_text(p50):>6} {latency_text(p99):>6} ",
            f"{total.count:>9,} {format_size(total.bytes) if total.bytes else '-':>8}  ", (errors, Tone.UNKNOWN),
        ))  # fmt: skip
    return lines


def _by_second(connection: FuseState, name: str, now: int, seconds: int) -> Sequence[float]:
    """Operations of one kind (all for "") in each of the last seconds, the oldest first; what is not told is 0."""
    counts = [0.0] * seconds
    for window in connection.windows:
        ago = (now - window.at) // SECOND
        if 0 <= ago < seconds:
            counts[-1 - ago] += sum(each.count for op, each in window.ops.items() if name in ("", op))
    return counts


def _sample(at: int, sample: FuseOpSampled, now: int) -> Line:
    errno = (f"{sample.errno:<10}", Tone.BAD if sample.errno else Tone.PLAIN)
    size = format_size(sample.bytes) if sample.bytes else ""
    return line((f" {moment_text(at, Stamp.OBSERVED, now):<13}", Tone.DIM), f"{sample.op:<12}"
                f"{format_duration(sample.duration_ns):>7}  ", errno, f"{size:>8}  inode {sample.inode}")  # fmt: skip
