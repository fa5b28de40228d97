"""Why a volume stands where it stands: the sentence, who must act, the evidence, what to run."""

from rich.cells import cell_len

from csitrace.lifecycle.state import StepStatus
from csitrace.lifecycle.views import Evidence, SpanView
from csitrace.model.times import format_duration
from csitrace.tui.columns import Column, place
from csitrace.tui.lines import Line, Tone, fit, line, shorten_middle, width_of, wrap
from csitrace.tui.rows import FINDING_TONES
from csitrace.tui.signs import SEVERITY, SEVERITY_WORDS, STATUS, phase_strip
from csitrace.tui.text import clock_text, moment_text, seconds_text
from csitrace.tui.watched import Detail

_LABEL = 7


def title_lines(detail: Detail, now: int, width: int) -> list[Line]:
    """One line: what people call it, its phases, the names it has with others, and for which pod it is shown."""
    row, use = detail.row, detail.use
    pods = [each for each in detail.volume.uses if each.ended_at is None]
    whose = ""
    if use is not None:
        place = f" ({pods.index(use) + 1} of {len(pods)}, p: next)" if use in pods and len(pods) > 1 else ""
        gone = " (gone)" if use.ended_at is not None else ""
        where = f" on {use.node_name}" if place and use.node_name else ""
        whose = f"pod {use.pod.name}{where}{gone}{place}"
    name = line(
        " ", SEVERITY[row.severity], " ", (row.display_name, Tone.STRONG), "  ", phase_strip(row.phases)
    )
    others = [text for text in (row.driver, whose, detail.volume.volume_id, row.pv_name) if text]
    return [fit(line(name, *(line("  ", (shorten_middle(text, 48), Tone.DIM)) for text in others)), width)]


def verdict_lines(detail: Detail, now: int, width: int) -> list[Line]:
    """The verdict's sentence; for a volume that is gone, that these are its last facts."""
    row = detail.row
    sentence = row.verdict.sentence or SEVERITY_WORDS[row.severity]
    if detail.volume.gone_at is not None:
        sentence = f"Gone since {clock_text(detail.volume.gone_at)}: nothing of it is left. Below is what was last known."
    label = fit(line((" WHY", Tone.TITLE)), _LABEL)
    tone = FINDING_TONES.get(row.severity, Tone.PLAIN)
    return wrap(line(label, (sentence, tone)), width - 1, indent=_LABEL)


def next_lines(detail: Detail, now: int, width: int) -> list[Line]:
    """Who must act, since when, and the command that shows more."""
    verdict = detail.row.verdict
    lines: list[Line] = []
    if verdict.holder:
        since = f", for {seconds_text(now - verdict.since)}" if verdict.since is not None else ""
        lines += wrap(
            line(fit(line((" next", Tone.DIM)), _LABEL), f"{verdict.holder} must act{since}"),
            width - 1,
            _LABEL,
        )
    if verdict.command:
        lines += wrap(line(fit(line((" run", Tone.DIM)), _LABEL), (verdict.command, Tone.STRONG), "  ",
                           ("y copies", Tone.DIM)), width - 1, _LABEL)  # fmt: skip
    return lines


def _evidence_time(evidence: Evidence, now: int, width: int) -> Line:
    return line((moment_text(evidence.at, evidence.stamp, now), Tone.DIM))


EVIDENCE_COLUMNS: tuple[Column[Evidence], ...] = (
    Column("", lambda row, now, width: line(), 1, 1),
    Column("WITNESS", lambda row, now, width: line(str(row.witness)), 10, 10),
    Column("AT", _evidence_time, 8, 12),
    Column("EVIDENCE", lambda row, now, width: line(row.text), 30, 50, weight=1),
)


def evidence_lines(evidence: Evidence | None, now: int, width: int) -> list[Line]:
    """The evidence under the cursor in full, where its line in the table had to be cut."""
    if evidence is None or cell_len(evidence.text) <= place(EVIDENCE_COLUMNS, width)[-1].width:
        return []
    return wrap(line(fit(line(), _LABEL), evidence.text), width - 1, _LABEL)


def waterfall_lines(spans: tuple[SpanView, ...], now: int, width: int) -> list[Line]:
    """A bar per span on one axis of time; stretches in which nothing happened are left out of it."""
    if not spans:
        return []
    names = [f"{span.name}{f' {span.node_name}' if span.node_name else ''}" for span in spans]
    left = min(max(len(name) for name in names), 18) + 2
    outcomes = [_outcome(span) for span in spans]
    right = max(width_of(outcome) for outcome in outcomes) + 8
    axis = _Axis(
        [(span.started_at, max(span.ended_at or now, span.started_at)) for span in spans],
        width - left - right,
    )
    lines = [line((" WATERFALL", Tone.TITLE))]
    for name, span, outcome in zip(names, spans, outcomes, strict=True):
        end = span.ended_at or now
        bar = axis.bar(span.started_at, end, span.retry_marks if span.attempts > 1 else ())
        took = (
            seconds_text(end - span.started_at)
            if span.ended_at is None
            else format_duration(end - span.started_at)
        )
        lines.append(line(" ", fit(line(name), left - 1), bar, f" {took:>6} ", outcome))
    return lines


def _outcome(span: SpanView) -> Line:
    tries = f" {span.attempts} tries" if span.attempts > 1 else ""
    if span.outcome == "ok":
        return line(STATUS[StepStatus.DONE], (tries, Tone.DIM))
    if span.outcome:
        return line(STATUS[StepStatus.FAILED], " ", (span.outcome, Tone.BAD), (tries, Tone.DIM))
    return line(STATUS[StepStatus.MOVING], (tries, Tone.DIM))


class _Axis:
    """Time to cells: proportional within stretches where something was going on, one cell for each gap between them."""

    def __init__(self, intervals: list[tuple[int, int]], width: int) -> None:
        self._stretches: list[tuple[int, int]] = []
        for start, end in sorted(intervals):
            if self._stretches and start <= self._stretches[-1][1]:
                self._stretches[-1] = (self._stretches[-1][0], max(end, self._stretches[-1][1]))
            else:
                self._stretches.append((start, end))
        self._busy = max(sum(end - start for start, end in self._stretches), 1)
        self._cells = max(width - len(self._stretches) + 1, 8)
        self._width = max(width, self._cells)

    def cell(self, at: int) -> int:
        before = 0
        for index, (start, end) in enumerate(self._stretches):
            if at <= end:
                return min(
                    (before + max(at - start, 0)) * (self._cells - 1) // self._busy + index, self._width - 1
                )
            before += end - start
        return self._width - 1

    def bar(self, start: int, end: int, marks: tuple[int, ...]) -> Line:
        first, last = self.cell(start), self.cell(end)
        tried = {self.cell(mark) for mark in marks}
        fill = "░" if marks else "▇"
        signs = "".join("▇" if cell in tried else fill for cell in range(first, last + 1))
        return line(" " * first, (signs, Tone.MOVING), " " * (self._width - 1 - last))
