"""The two lines over every screen: what is watched and how it fares; which witnesses are heard, and since when not."""

from collections.abc import Iterable

from csitrace.lifecycle.views import Severity, VolumeRow, WitnessView
from csitrace.model.events import Witness
from csitrace.model.sizes import format_size
from csitrace.model.times import SECOND
from csitrace.tui.lines import Line, Span, Tone, fit, line, shorten_middle, width_of
from csitrace.tui.recording import RecordingStatus
from csitrace.tui.text import clock_text, seconds_text
from csitrace.tui.watched import Overview, Playhead

WITNESS_NAMES = {Witness.KUBERNETES: "kubernetes", Witness.DRIVER: "drivers", Witness.KERNEL: "nodes"}

_COUNTED: tuple[tuple[Severity, str, Tone], ...] = (
    (Severity.STUCK, "stuck ✗", Tone.BAD),
    (Severity.SLOW, "slow !", Tone.UNKNOWN),
    (Severity.UNKNOWN, "unknown ?", Tone.UNKNOWN),
    (Severity.MOVING, "moving ◐", Tone.MOVING),
    (Severity.WAITING, "waiting", Tone.PLAIN),
    (Severity.GONE, "gone ·", Tone.DIM),
)

_WORST = 3
"""How many spans of the counts tell of all volumes, and of those that are worst off."""

_QUIET_NS = 5 * SECOND
"""A witness that has nothing to say for less than this is not worth a word."""


def header_lines(overview: Overview, now: int, width: int) -> list[Line]:
    """Both lines of the header."""
    recording, playhead, stale_since = overview.recording, overview.playhead, overview.stale_since
    modes = [
        line(recording_line(recording, brief=one), mode_line(playhead, stale_since, brief=other))
        for one, other in ((False, False), (True, False), (True, True))
    ]
    counts = line(counts_line(overview.rows), others_line(overview.other_volumes))
    title = line(" csitrace  ", (overview.title, Tone.STRONG), "  ")
    first = line(title, counts)
    if width_of(first) + width_of(modes[0]) + 2 > width:
        first = line(" ", (overview.title, Tone.STRONG), "  ", counts)
    worst = width_of(first) - width_of(counts[_WORST:])  # what has to be read, whatever else is cut
    mode = next((each for each in modes if worst + width_of(each) + 3 <= width), modes[-1])
    first = line(fit(first, max(width - width_of(mode) - 2, 0)), " ", mode, " ")
    return [first, witnesses_line(overview, now, width)]


def mode_line(playhead: Playhead, stale_since: int | None, *, brief: bool = False) -> Line:
    """`● LIVE`; where it is not the latest that is shown: the time shown, and how many facts have come in since, or how fast the
    past is played. `brief`: no more than must be said."""
    if playhead.mode == "LIVE" and stale_since is not None:
        return line((f"▲ STALE since {clock_text(stale_since)[:8]}", Tone.UNKNOWN))
    if playhead.mode == "LIVE":
        return line(("● LIVE", Tone.GOOD))
    sign, clock = "▶" if playhead.playing else "‖", clock_text(playhead.at)[: 8 if brief else None]
    if playhead.mode == "REPLAY":
        return line((f"{sign} REPLAY {clock} x{playhead.speed:g}", Tone.UNKNOWN))
    behind = f" ({playhead.behind:,} newer)" if playhead.behind and not brief else ""
    return line((f"{sign} {playhead.mode} {clock}{behind}", Tone.UNKNOWN))


def recording_line(recording: RecordingStatus | None, *, brief: bool = False) -> Line:
    """`● REC 12,345 4.2 MiB`: facts and bytes written so far (not if `brief`); or why not all of it is written."""
    if recording is None:
        return ()
    if recording.problem:
        return line((f"✗ REC {recording.problem}", Tone.BAD), "  ")
    written = "" if brief else f" {recording.events:,} {format_size(recording.size)}"
    return line(("● REC", Tone.BAD), f"{written}  ")


def counts_line(rows: Iterable[VolumeRow]) -> Line:
    """How many volumes there are, and how many of them want attention, the worst first."""
    severities = [row.severity for row in rows]
    total = len(severities) - severities.count(Severity.GONE)
    parts: list[str | Span] = [f"{total:,} volume{'' if total == 1 else 's'}"]
    for severity, word, tone in _COUNTED:
        if count := severities.count(severity):
            parts += ["   ", (f"{count:,} {word}", tone)]
    return line(*parts)


def others_line(count: int) -> Line:
    """How many volumes are left out because CSI has no part in them, or only by a translation in Kubernetes."""
    return line((f"   {count:,} not CSI", Tone.DIM)) if count else ()


def witnesses_line(overview: Overview, now: int, width: int) -> Line:
    parts: list[Span | str | Line] = [" "]
    for view in overview.witnesses:
        parts += [witness_line(view, now), "   "]
    whole = line(*parts)
    problems = [problem for view in overview.witnesses for problem in folded(view.problems)]
    if problems:
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        whole = line(whole, (f"{problems[0]}{more}", Tone.UNKNOWN))
    return fit(whole, width)


def folded(problems: Iterable[str], shown: int = 1) -> list[str]:
    """`scope: reason` lines, those of one reason as one: `Pod and 9 more: connection refused`. The reason of most comes first."""
    scopes: dict[str, list[str]] = {}
    for problem in problems:
        scope, _, reason = problem.partition(": ")
        scopes.setdefault(reason or problem, []).append(scope)
    ranked = sorted(scopes.items(), key=lambda item: -len(item[1]))
    return [f"{_some(names, shown)}: {reason}" for reason, names in ranked]


def _some(names: list[str], shown: int) -> str:
    """All names where there are few, else the first and how many more."""
    few = shown + 1
    if len(names) <= few:
        return " and ".join(names)
    return f"{', '.join(names[:shown])} and {len(names) - shown} more"


def witness_line(view: WitnessView, now: int) -> Line:
    """`kubernetes ● 3s`: heard on all it was asked for, and for how long not; `nodes ▲ 11/12 (n7 silent 40s)`: not on all."""
    name = WITNESS_NAMES[view.witness]
    if not view.total:
        return line((f"{name} – not asked", Tone.DIM))
    silent = 0 if view.last_at is None else now - view.last_at
    age = f" {seconds_text(silent)} ago" if silent >= _QUIET_NS else ""
    if view.delay_ns:
        late = f"{seconds_text(view.delay_ns)} behind, or clocks differ"
        return line(f"{name} ", (f"▲ {view.up}/{view.total} {late}", Tone.UNKNOWN))
    if view.up == view.total:
        count = "" if view.witness is Witness.KUBERNETES else f" {view.up}/{view.total}"
        return line(f"{name} ", ("●", Tone.GOOD), f"{count}{age}")
    tone = Tone.UNKNOWN if view.up else Tone.BAD
    who = _silent(view, now) if view.witness is not Witness.KUBERNETES else ""
    return line(f"{name} ", (f"{'▲' if view.up else '✗'} {view.up}/{view.total}{who or age}", tone))


def _silent(view: WitnessView, now: int) -> str:
    """Which of a witness's scopes has been silent longest: ` (n7 silent 40s, +2)`."""
    if not view.silent:
        return ""
    scope, at = view.silent[0]
    more = f", +{len(view.silent) - 1}" if len(view.silent) > 1 else ""
    return f" ({shorten_middle(scope, 16)} silent {seconds_text(now - at)}{more})"
