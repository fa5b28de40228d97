"""One page for a bug report: what is in it needs no network, and its policy forbids any. Every text of the recording is escaped.

It reads without its script, too: the script chooses rows, and switches the theme.
"""

from base64 import b64encode
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache
from hashlib import sha256
from importlib.resources import files

from csitrace.export.page.escaping import plain
from csitrace.export.page.waterfall import waterfall
from csitrace.lifecycle.chronicle import Chronicle, Fact, Life, Way
from csitrace.lifecycle.state import StepStatus
from csitrace.lifecycle.views import Severity, SpanView, StepView
from csitrace.model.times import format_duration, format_rfc3339

EVENTS_SHOWN = 10_000
"""More rows than these make a browser slow; the latest are kept, and the page says so."""

OPENED = 3
"""So many volumes at the most are unfolded at first."""

_NUMBERS = dict.fromkeys(("For", "Tries", "Took"), ' class="number"')
"""Columns that are set to the right."""

_ROADS = {"forward": "The way in", "back": "The way back", "expansion": "Expansion"}


def html(told: Chronicle) -> Iterator[bytes]:
    """The page, in chunks."""
    for part in _page(told):
        yield part.encode("utf-8", "replace")


def _page(told: Chronicle) -> Iterator[str]:
    style, script = _asset("page.css"), _asset("page.js")
    policy = (
        f"default-src 'none'; style-src 'sha256-{_digest(style)}'; script-src 'sha256-{_digest(script)}'; "
        "base-uri 'none'; form-action 'none'"
    )
    title = told.title or "recording"
    lives = sorted(told.lives, key=lambda life: (-life.row.severity, life.name))
    ids = {life.key: f"v{number}" for number, life in enumerate(lives)}
    yield f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="referrer" content="no-referrer">
<title>{plain(title)}: volumes</title>
<style>{style}</style>
</head>
<body>
<a class="skip" href="#main">Skip to the volumes</a>
<header>
<div>
<h1>{plain(title)}</h1>
<p class="quiet">{_when(told)}</p>
</div>
<button id="theme" type="button" aria-pressed="false" hidden>Dark theme</button>
</header>
<main id="main" tabindex="-1">
"""
    yield from (f'<p role="note">{plain(note)}</p>\n' for note in told.notes)
    yield from _verdicts(lives, ids, told.now)
    for number, life in enumerate(lives):
        is_open = len(lives) <= OPENED or (number < OPENED and life.row.severity >= Severity.SLOW)
        yield from _volume(life, ids[life.key], told.now, is_open)
    yield from _events(told, lives, ids)
    yield f"""</main>
<footer>
<p>Made by csitrace. Times are UTC; those marked ~ were reconstructed from fields of objects, to the second.</p>
</footer>
<script>{script}</script>
</body>
</html>
"""


def _verdicts(lives: Sequence[Life], ids: dict[str, str], now: int) -> Iterator[str]:
    yield '<section aria-labelledby="verdicts"><h2 id="verdicts">Verdicts</h2>\n'
    rows = (
        (
            f'<td class="state {life.row.severity.name.lower()}">{life.row.severity.name}</td>',
            f'<th scope="row"><a href="#{ids[life.key]}">{plain(life.name)}</a></th>',
            _cell(f"{life.row.step_id} {life.row.step_title}".strip()),
            _cell(_since(life, now), "number"),
            _cell(", ".join(life.row.node_names)),
            _cell(life.row.verdict.sentence),
        )
        for life in lives
    )
    yield from _table(
        "Every volume, worst first", ("State", "Volume", "Step", "For", "Node", "Verdict"), rows
    )
    yield "</section>\n"


def _volume(life: Life, identity: str, now: int, is_open: bool) -> Iterator[str]:
    word, volume = life.row.verdict, life.volume
    severity = word.severity.name
    yield f'<details class="volume" id="{identity}"{" open" if is_open else ""}>\n'
    yield f'<summary><h2>{plain(life.name)}</h2> <span class="state {severity.lower()}">{severity}</span></summary>\n'
    yield f'<div class="inside"><p class="verdict">{plain(word.sentence)}</p>\n<p class="quiet">'
    about = (
        ("PV", volume.pv_name), ("driver", volume.driver), ("class", life.row.storage_class), ("volume id", volume.volume_id),
        ("held by", word.holder),
    )  # fmt: skip
    yield " · ".join(f"{name} {plain(value)}" for name, value in about if value) + "</p>\n"
    if word.command:
        yield f"<p>To see more:</p><pre><code>{plain(word.command)}</code></pre>\n"
    if word.evidence:
        yield "<h3>Evidence</h3><ul>\n"
        yield from (
            f"<li>{plain(e.text)} <span class='quiet'>({e.witness.value})</span></li>\n"
            for e in word.evidence
        )
        yield "</ul>\n"
    yield from _spans(life, now)
    for way in life.ways:
        if any(step.status not in (StepStatus.PENDING, StepStatus.NOT_APPLICABLE) for step in way.steps):
            yield from _ladder(way)
    yield from _findings(life)
    yield "</div></details>\n"


def _spans(life: Life, now: int) -> Iterator[str]:
    if not life.spans:
        return
    yield "<h3>Spans</h3>\n"
    yield from waterfall(life.spans, life.volume.gone_at or now, f"Spans of {life.name} over time")
    rows = (
        (
            f'<th scope="row">{plain(span.name)}</th>',
            _cell(span.node_name),
            f'<td class="state {_tone(span)}">{plain(span.outcome or "open")}</td>',
            _cell(str(span.attempts), "number"),
            _cell(format_rfc3339(span.started_at)[11:], "time"),
            _cell(
                format_duration(span.ended_at - span.started_at) if span.ended_at is not None else "",
                "number",
            ),
        )
        for span in life.spans
    )
    yield from _table(f"Spans of {life.name}", ("Span", "Node", "Outcome", "Tries", "Began", "Took"), rows)


def _tone(span: SpanView) -> str:
    return "ok" if span.outcome == "ok" else "failed" if span.outcome else "moving"


def _ladder(way: Way) -> Iterator[str]:
    of = f" of pod {way.pod}" if way.pod else ""
    yield f"<h3>{_ROADS[way.name]}{plain(of)}</h3>\n"
    rows = (
        (
            _cell(step.step_id),
            f'<th scope="row">{plain(step.title)}</th>',
            f'<td class="state {_css(step.status)}">{step.status.value}</td>',
            _cell(step.actor),
            _cell(_at(step), "time"),
            _cell(format_duration(step.took_ns) if step.took_ns is not None else "", "number"),
            _cell(_witnesses(step)),
        )
        for step in way.steps
    )
    yield from _table(
        f"Steps of {_ROADS[way.name].lower()}{of}",
        ("No.", "Step", "Status", "Who acts", "At", "Took", "Who says what"), rows,
    )  # fmt: skip


def _findings(life: Life) -> Iterator[str]:
    yield "<h3>How the verdict changed</h3>\n"
    rows = (
        (
            _cell(format_rfc3339(finding.at)[11:], "time"),
            f'<td class="state {finding.verdict.severity.name.lower()}">{finding.verdict.severity.name}</td>',
            _cell(finding.verdict.step_id),
            _cell(finding.verdict.sentence),
            _cell(finding.verdict.holder),
        )
        for finding in life.findings
    )
    yield from _table(
        f"Verdicts on {life.name} over time", ("From", "State", "Step", "Verdict", "Held by"), rows
    )


def _events(told: Chronicle, lives: Sequence[Life], ids: dict[str, str]) -> Iterator[str]:
    shown = [fact for fact in told.facts if fact.keys or fact.kind]
    left_out, shown = max(len(shown) - EVENTS_SHOWN, 0), shown[-EVENTS_SHOWN:]
    names = {life.key: life.name for life in lives}
    volumes = "".join(f'<option value="{ids[life.key]}">{plain(life.name)}</option>' for life in lives)
    yield f"""<section aria-labelledby="events-title"><h2 id="events-title">Events</h2>
<div class="tools" id="tools" role="search" hidden>
<label for="search">Search (press /)<input id="search" type="search" autocomplete="off" spellcheck="false"></label>
<label for="of-volume">Volume<select id="of-volume"><option value="">all</option>{volumes}</select></label>
<label for="of-witness">Witness<select id="of-witness"><option value="">all</option><option>kubernetes</option>
<option>driver</option><option>kernel</option></select></label>
<output id="count" for="search of-volume of-witness" aria-live="polite"></output>
</div>
"""
    if left_out:
        yield f'<p role="note">{left_out} earlier events are left out of this page; the trace has them.</p>\n'
    yield '<div id="events">'
    yield from _table(
        "What was seen, in order", ("No.", "Time", "Witness", "Volume", "Event"),
        (_event_cells(fact, names) for fact in shown), (_event_marks(fact, ids) for fact in shown),
    )  # fmt: skip
    yield "</div></section>\n"


def _event_cells(fact: Fact, names: dict[str, str]) -> tuple[str, ...]:
    return (
        _cell(str(fact.seq), "number"),
        _cell(format_rfc3339(fact.at)[11:], "time"),
        _cell(_witness(fact), "word"),
        _cell(", ".join(names[key] for key in fact.keys if key in names), "word"),
        _cell(fact.text),
    )


def _event_marks(fact: Fact, ids: dict[str, str]) -> str:
    of = " ".join(ids[key] for key in fact.keys if key in ids)
    return f' data-of="{of}" data-by="{_witness(fact)}"'


def _witness(fact: Fact) -> str:
    return fact.witness.value if fact.witness is not None else ""


def _table(
    caption: str, heads: Iterable[str], rows: Iterable[Iterable[str]], marks: Iterable[str] | None = None
) -> Iterator[str]:
    """`rows` of cells that are HTML already; `marks`: attributes of each row."""
    yield f'<div class="scroll" tabindex="0" role="region" aria-label="{plain(caption)}"><table>'
    yield f"<caption>{plain(caption)}</caption><thead><tr>"
    yield (
        "".join(f'<th scope="col"{_NUMBERS.get(head, "")}>{head}</th>' for head in heads)
        + "</tr></thead><tbody>\n"
    )
    following: Callable[[], str] = iter(marks).__next__ if marks is not None else str  # str() is ""
    for row in rows:
        yield f"<tr{following()}>{''.join(row)}</tr>\n"
    yield "</tbody></table></div>\n"


def _cell(text: str, kind: str = "") -> str:
    return f'<td class="{kind}">{plain(text)}</td>' if kind else f"<td>{plain(text)}</td>"


def _css(status: StepStatus) -> str:
    return "na" if status is StepStatus.NOT_APPLICABLE else status.value


def _at(step: StepView) -> str:
    if step.at is None:
        return ""
    return ("~" if step.stamp.value == "server" else "") + format_rfc3339(step.at)[11:]


def _witnesses(step: StepView) -> str:
    said = "; ".join(f"{w.value}: {t.text or t.status.value}" for w, t in step.testimonies.items())
    return " · ".join(part for part in (step.note, said) if part)


def _since(life: Life, now: int) -> str:
    return format_duration(max(0, now - life.row.since)) if life.row.since is not None else ""


def _when(told: Chronicle) -> str:
    count = f"{len(told.lives)} volume{'' if len(told.lives) == 1 else 's'}, {told.events} events"
    if not told.events:
        return count
    return (
        f"{format_rfc3339(told.first_at)} to {format_rfc3339(told.now)} "
        f"({format_duration(told.now - told.first_at)}) · {count}"
    )


@cache
def _asset(name: str) -> str:
    return files(__package__).joinpath(name).read_text(encoding="utf-8")


def _digest(content: str) -> str:
    return b64encode(sha256(content.encode()).digest()).decode()
