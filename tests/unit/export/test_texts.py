import csv
import io
import json
import re

from csitrace.export.document import FORMAT, document
from csitrace.export.mermaid import escaped, mermaid
from csitrace.export.tables import SPAN_COLUMNS, STEP_COLUMNS, span_table, step_table
from csitrace.lifecycle.chronicle import chronicle
from tests.unit.export.told import HOSTILE, of, renamed, stuck, whole_life


def test_every_span_and_step_is_a_line_of_its_table() -> None:
    """RFC 4180: CRLF, one head, as many cells as it has, whatever the texts hold."""
    told = chronicle(renamed(stuck(HOSTILE), {"data": f'a,"b"\n{HOSTILE}'}))
    for table, columns, wanted in (
        (span_table, SPAN_COLUMNS, sum(len(life.spans) for life in told.lives)),
        (step_table, STEP_COLUMNS, sum(len(way.steps) for life in told.lives for way in life.ways)),
    ):
        written = b"".join(table(told)).decode()
        rows = list(csv.reader(io.StringIO(written, newline="")))
        assert written.endswith("\r\n")
        assert tuple(rows[0]) == columns
        assert len(rows) == wanted + 1
        assert {len(row) for row in rows} == {len(columns)}


def test_no_cell_is_a_formula() -> None:
    """A claim whose name begins with a sign that spreadsheets calculate with is a text."""
    for sign in ("=", "+", "-", "@", "\t", "\r"):
        told = chronicle(renamed(whole_life(), {"data": f"{sign}SUM(A1)", "shop": f"{sign}1"}))
        rows = list(csv.reader(io.StringIO(b"".join(span_table(told)).decode(), newline="")))
        assert rows[1][0].startswith("'")
        assert rows[1][1].startswith("'")


def test_the_document_has_what_its_contract_names() -> None:
    """The names of docs/export.md, with a volume's verdict, steps, spans and calls."""
    told = json.loads(b"".join(document(of(stuck()))))
    assert told["format"] == FORMAT
    (volume,) = told["volumes"]
    assert (volume["namespace"], volume["claim"], volume["verdict"]["severity"]) == ("shop", "data", "stuck")
    assert {"at", "atNs", "seq", "step", "sentence"} <= volume["findings"][-1].keys()
    assert {"status", "at", "timeFrom", "tookMs", "witnesses"} <= volume["ways"][0]["steps"][0].keys()
    assert [call["code"] for call in volume["calls"]][-2:] == ["RESOURCE_EXHAUSTED"] * 2
    assert volume["spans"][-1]["endedNs"] is None
    assert len(told["facts"]) >= told["events"]


def test_an_empty_recording_is_a_document_and_a_table() -> None:
    """No events: nothing fails, and all that has a head has it."""
    told = chronicle([])
    assert json.loads(b"".join(document(told)))["volumes"] == []
    assert b"".join(span_table(told)).count(b"\r\n") == 1


_LINE = re.compile(
    r"sequenceDiagram|gantt"
    r"|  participant (c\d+|d) as [^;#\n]*(#\d+;[^;#\n]*)*"
    r"|  (c\d+->>d|d-->>c\d+|d--xc\d+): [^;#\n]*(#\d+;[^;#\n]*)*"
    r"|  Note over d: [^;#\n]*(#\d+;[^;#\n]*)*"
    r"|  title [^:;#\n]*|  dateFormat x|  axisFormat %H:%M:%S|  section [^:;#\n]+"
    r"|  [^:;#\n]+ :(done|active|crit), s\d+, \d+, \d+"
)


def test_diagrams_hold_nothing_that_mermaid_would_read_otherwise() -> None:
    """With hostile names and messages each line is still one of the few forms written here, in a closed fence."""
    told = chronicle(renamed(stuck(HOSTILE + "```end"), {"data": f"end{HOSTILE}", "n1": f"n`{HOSTILE}"}))
    page = b"".join(mermaid(told)).decode()
    parts = page.split("```")
    assert len(parts) == 5
    for diagram in (parts[1], parts[3]):
        head, *lines = diagram.strip("\n").split("\n")
        assert head == "mermaid"
        assert [line for line in lines if not _LINE.fullmatch(line)] == []


def test_a_word_that_would_end_a_block_is_written_as_its_number() -> None:
    """`end` alone, in any case; not inside a word."""
    assert escaped("the end") == "the #101;nd"
    assert escaped("backend") == "backend"
