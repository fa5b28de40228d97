"""Lines of text in tones: what every drawing function returns and the widgets put on the screen.

A tone is a meaning, not a colour; themes give it one. Nothing may be told by tone alone: NO_COLOR users see the same signs.
"""

from collections.abc import Iterable
from enum import StrEnum

from rich.cells import cell_len, set_cell_size


class Tone(StrEnum):
    """How a piece of text is meant. Each has a component class `tone--<name>` in the style sheet."""

    PLAIN = "plain"
    STRONG = "strong"
    DIM = "dim"
    GOOD = "good"
    MOVING = "moving"
    BAD = "bad"
    UNKNOWN = "unknown"
    TITLE = "title"


Span = tuple[str, Tone]
Line = tuple[Span, ...]

ELLIPSIS = "…"


def clean(text: str) -> str:
    """`text` on one line, without characters that would steer the terminal or reorder what is read (escape, bidi marks)."""
    if text.isprintable():
        return text
    return "".join(character if character.isprintable() else " " for character in text)


def line(*parts: str | Span | Line) -> Line:
    """A line of plain texts, spans and other lines, one after the other."""
    spans: list[Span] = []
    for part in parts:
        if isinstance(part, str):
            spans.append((clean(part), Tone.PLAIN))
        elif part and isinstance(part[0], str):
            text, tone = part
            spans.append((clean(str(text)), Tone(tone)))
        else:
            spans.extend(part)
    return tuple(spans)


def text_of(spans: Line) -> str:
    return "".join(text for text, _ in spans)


def width_of(spans: Line) -> int:
    """Cells of the terminal that the line fills."""
    return sum(cell_len(text) for text, _ in spans)


def dimmed(spans: Line) -> Line:
    """The same text, drawn as what may no longer be so."""
    return tuple((text, Tone.DIM) for text, _ in spans)


def fit(spans: Line, width: int, right: bool = False) -> Line:
    """The line in exactly `width` cells: cut with an ellipsis, or filled with blanks (on the left, if `right`)."""
    missing = width - width_of(spans)
    if missing >= 0:
        blank = (" " * missing, Tone.PLAIN)
        return (blank, *spans) if right else (*spans, blank)
    if width <= 0:
        return ()
    kept: list[Span] = []
    room = width - 1
    for text, tone in spans:
        cells = cell_len(text)
        if cells > room:
            kept.append((set_cell_size(text, room) + ELLIPSIS, tone))
            break
        kept.append((text, tone))
        room -= cells
    return tuple(kept)


def shorten_middle(text: str, width: int) -> str:
    """`text` in at most `width` cells, keeping both ends: names often differ in their last letters only."""
    text = clean(text)
    if cell_len(text) <= width:
        return text
    if width < 5:
        return set_cell_size(text, max(width - 1, 0)) + ELLIPSIS if width > 0 else ""
    tail_cells = (width - 1) // 2
    tail = text[-tail_cells:]
    while cell_len(tail) > tail_cells:
        tail = tail[1:]
    return set_cell_size(text, width - 1 - cell_len(tail)) + ELLIPSIS + tail


def wrap(spans: Line, width: int, indent: int = 0) -> list[Line]:
    """The line broken at blanks into lines of at most `width` cells; all but the first begin with `indent` blanks.

    A word longer than a line is broken where the line ends, so nothing is lost.
    """
    width = max(width, indent + 2)  # room for the widest character
    lines: list[list[Span]] = [[]]
    used = 0

    def begin_line() -> None:
        nonlocal used
        lines.append([(" " * indent, Tone.PLAIN)] if indent else [])
        used = indent

    for word, tone in _words(spans):
        if used + cell_len(word) > width and used > (indent if len(lines) > 1 else 0):
            begin_line()
            word = word.lstrip(" ")
        while used + cell_len(word) > width:
            head = _head(word, width - used)
            lines[-1].append((head, tone))
            word = word[len(head) :]
            begin_line()
        if word:
            lines[-1].append((word, tone))
            used += cell_len(word)
    return [tuple(spans) for spans in lines]


def _head(word: str, width: int) -> str:
    """As many of the first characters as fit."""
    cells = 0
    for index, character in enumerate(word):
        cells += cell_len(character)
        if cells > width:
            return word[:index]
    return word


def _words(spans: Line) -> Iterable[Span]:
    """The spans cut before each run of blanks: every piece is `blanks` + `word`."""
    for text, tone in spans:
        start, position = 0, 0
        while position < len(text):
            while position < len(text) and text[position] == " ":
                position += 1
            while position < len(text) and text[position] != " ":
                position += 1
            yield text[start:position], tone
            start = position
