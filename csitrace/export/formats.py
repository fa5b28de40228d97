"""The formats by what `--to` calls them: what each is for, and what makes it of a chronicle."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from csitrace.export.document import document
from csitrace.export.mermaid import mermaid
from csitrace.export.otlp import otlp
from csitrace.export.page import html
from csitrace.export.perfetto import perfetto
from csitrace.export.tables import span_table, step_table
from csitrace.lifecycle.chronicle import Chronicle


@dataclass(frozen=True, slots=True)
class Format:
    """`render` gives the bytes in chunks; `is_text`: they may go to a terminal."""

    help: str
    render: Callable[[Chronicle], Iterator[bytes]]
    is_text: bool = True


FORMATS: dict[str, Format] = {
    "perfetto": Format("tracks, spans and counters for ui.perfetto.dev", perfetto, is_text=False),
    "otlp": Format("OpenTelemetry traces, one per volume", otlp),
    "html": Format("one page for a bug report", html),
    "csv": Format("a table of spans", span_table),
    "csv-steps": Format("a table of steps", step_table),
    "json": Format("everything, documented", document),
    "mermaid": Format("diagrams in Markdown, as GitHub renders them", mermaid),
}
