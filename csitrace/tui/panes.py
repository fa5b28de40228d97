"""The five panes of one volume's screen: widgets around the pure drawing functions."""

from dataclasses import dataclass

from textual.app import ComposeResult
from textual.containers import Container, Horizontal, Vertical
from textual.message import Message
from textual.widget import Widget

from csitrace.lifecycle.state import StepStatus
from csitrace.lifecycle.views import Evidence, StepView, Verdict
from csitrace.model.events import TraceEvent
from csitrace.tui.block import Block
from csitrace.tui.factlist import FactList
from csitrace.tui.facts import fact_columns, fact_filter, fact_lines
from csitrace.tui.filterbar import FilterBar
from csitrace.tui.folding import Folded
from csitrace.tui.fuse import fuse_lines
from csitrace.tui.lines import Line, Tone, line
from csitrace.tui.steps import STEP_COLUMNS, decisive_seq, ladder_lines, step_lines
from csitrace.tui.table import Table
from csitrace.tui.watched import Detail, Overview, Watched
from csitrace.tui.why import EVIDENCE_COLUMNS, evidence_lines, next_lines, waterfall_lines
from csitrace.tui.witnesses import question_lines, witnesses_lines


@dataclass
class FactWanted(Message):
    """The user wants to see the fact behind something."""

    seq: int


class Pane(Container):
    """One pane. Only the one that can be seen is asked to show anything."""

    def show(self, detail: Detail, overview: Overview) -> None:
        """Draw this moment."""
        raise NotImplementedError

    def target(self) -> Widget:
        """What the keys go to."""
        raise NotImplementedError

    def open(self) -> None:
        """Enter was pressed."""


class WhyPane(Pane):
    """Who must act and what to run; the evidence; on a large terminal steps and witnesses at a glance; an axis of time."""

    def compose(self) -> ComposeResult:
        yield Block(id="next")
        yield Table(
            EVIDENCE_COLUMNS,
            lambda evidence: (evidence.witness, evidence.text),
            empty=_no_evidence,
            id="evidence",
        )
        yield Block(id="evidence-text")
        with Horizontal(id="glance"):
            yield Block(id="why-ladder")
            yield Block(id="why-witnesses")
        yield Block(id="why-waterfall", classes="waterfall")

    def on_table_moved(self) -> None:
        self._show_text()

    def _show_text(self) -> None:
        evidence = self.target().row
        self.query_one("#evidence-text", Block).show(
            lambda now, width: evidence_lines(evidence, now, width), 0
        )

    def show(self, detail: Detail, overview: Overview) -> None:
        self.query_one("#next", Block).show(lambda now, width: next_lines(detail, now, width), detail.now)
        self.target().show(detail.row.verdict.evidence, detail.now)
        self._show_text()
        steps = detail.way_back if detail.row.going else detail.steps
        self.query_one("#why-ladder", Block).show(
            lambda now, width: ladder_lines(steps, now, width), detail.now
        )
        self.query_one("#why-witnesses", Block).show(
            lambda now, width: question_lines(detail.questions, width), detail.now
        )
        self.query_one("#why-waterfall", Block).show(
            lambda now, width: waterfall_lines(detail.spans, now, width), detail.now
        )

    def target(self) -> Table[Evidence]:
        return self.query_one("#evidence", Table)

    def open(self) -> None:
        if (evidence := self.target().row) is not None:
            self.post_message(FactWanted(evidence.seq))


class StepsPane(Pane):
    """The ladder, and the step under the cursor in full."""

    def __init__(self, *, id: str) -> None:  # Textual's own name for it
        super().__init__(id=id)
        self._back: bool | None = None  # None: whichever way the volume goes
        self._begin = True  # the next steps that are shown are shown from the one that matters
        self._now = 0

    def compose(self) -> ComposeResult:
        yield Table(STEP_COLUMNS, lambda step: step.step_id, id="steps")
        with Vertical(id="steps-side"):
            yield Block(id="step")
            yield Block(id="steps-waterfall", classes="waterfall")

    def turn(self) -> None:
        """Show the other way."""
        self._back = not self._shows_back()
        self._begin = True

    def _shows_back(self) -> bool:
        row = self.target().row
        return row is not None and row.step_id.startswith("b")

    def show(self, detail: Detail, overview: Overview) -> None:
        back = detail.row.going if self._back is None else self._back
        steps = detail.way_back if back else detail.steps
        table, self._now = self.target(), detail.now
        table.show(steps, detail.now)
        if self._begin:
            self._begin = False
            table.hold(_current(steps, detail.row.verdict))
        self._show_step()
        self.query_one("#steps-waterfall", Block).show(
            lambda now, width: waterfall_lines(detail.spans, now, width), detail.now
        )

    def _show_step(self) -> None:
        step = self.target().row
        self.query_one("#step", Block).show(
            lambda now, width: step_lines(step, now, width) if step is not None else [], self._now
        )

    def on_table_moved(self) -> None:
        self._show_step()

    def target(self) -> Table[StepView]:
        return self.query_one("#steps", Table)

    def open(self) -> None:
        if (step := self.target().row) is not None:
            self.post_message(FactWanted(decisive_seq(step)))


class WitnessesPane(Pane):
    """What each witness says, side by side."""

    def compose(self) -> ComposeResult:
        yield Block(focusable=True)

    def show(self, detail: Detail, overview: Overview) -> None:
        self.target().show(
            lambda now, width: witnesses_lines(detail.questions, overview.witnesses, now, width), detail.now
        )

    def target(self) -> Block:
        return self.query_one(Block)


class FusePane(Pane):
    """The FUSE connections of the volume."""

    def compose(self) -> ComposeResult:
        yield Block(focusable=True)

    def show(self, detail: Detail, overview: Overview) -> None:
        self.target().show(lambda now, width: fuse_lines(detail, now, width), detail.now)

    def target(self) -> Block:
        return self.query_one(Block)


class EventsPane(Pane):
    """Every fact about the volume in order, and the one under the cursor in full."""

    def __init__(self, watched: Watched, key: str, *, id: str) -> None:
        super().__init__(id=id)
        self._watched = watched
        self._read = fact_filter(watched)
        self._filter = self._read("")
        self._facts = FactList(watched, key)
        self._shown: tuple[Detail, Overview] | None = None
        self._wanted = 0  # a fact to put the cursor on once it is found

    def compose(self) -> ComposeResult:
        yield Table(
            fact_columns(self._watched),
            lambda event: event.seq,
            empty=self._nothing,
            rest_last=True,
            id="facts",
        )
        yield Block(id="fact")
        yield FilterBar(self._read, "witness:driver and not type:started")

    def show(self, detail: Detail, overview: Overview) -> None:
        self._shown = (detail, overview)
        facts = Folded(self._facts.update(detail.volume, self._filter))
        if self._wanted and facts and facts[0].seq <= self._wanted:
            self.target().hold(facts.holds(self._wanted))
            self._wanted = 0
        self.target().show(facts, detail.now)
        self._show_fact()

    @property
    def complete(self) -> bool:
        """Whether the history was looked through to its beginning."""
        return self._facts.complete

    def go_to(self, seq: int) -> None:
        """Put the cursor on a fact."""
        self._filter = self._read("")
        self._wanted = seq
        if self._shown is not None:
            self.show(*self._shown)

    def undo_filter(self) -> bool:
        """Show all facts again; False where nothing was filtered."""
        if not self._filter:
            return False
        self._filter = self._read("")
        if self._shown is not None:
            self.show(*self._shown)
        return True

    def start_filter(self) -> None:
        self.query_one(FilterBar).open(self._filter)

    def _nothing(self, now: int, width: int) -> list[Line]:
        if self._filter:
            return [
                line(("No fact matches ", Tone.STRONG), (self._filter.text, Tone.UNKNOWN)),
                line("/ changes the filter."),
            ]
        if not self._facts.complete:
            return [line("Looking through the history …")]
        return [line(("No fact about this volume is kept at this point of the history.", Tone.STRONG))]

    def _show_fact(self) -> None:
        event: TraceEvent | None = self.target().row
        now = self._shown[0].now if self._shown is not None else 0
        self.query_one("#fact", Block).show(
            lambda now, width: fact_lines(self._watched, event, now, width) if event is not None else [], now
        )

    def on_table_moved(self) -> None:
        self._show_fact()

    def on_filter_bar_changed(self, message: FilterBar.Changed) -> None:
        message.stop()
        self._filter = message.filter
        if self._shown is not None:
            self.show(*self._shown)
        if message.done:
            self.target().focus()

    def target(self) -> Table[TraceEvent]:
        return self.query_one("#facts", Table)


def _no_evidence(now: int, width: int) -> list[Line]:
    return [line(("Nothing is waited for: no evidence is needed.", Tone.DIM))]


def _current(steps: tuple[StepView, ...], verdict: Verdict) -> str:
    """The step that matters: the verdict's, else the first that is neither done nor n/a; where all are, the first of all."""
    settled = (StepStatus.DONE, StepStatus.NOT_APPLICABLE)
    left = [step.step_id for step in steps if step.status not in settled]
    return verdict.step_id if verdict.step_id in left else next(iter(left), steps[0].step_id)
