"""Lines: exact widths, nothing lost, nothing that steers the terminal."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from csitrace.lifecycle.views import SpanView
from csitrace.model.sizes import format_size
from csitrace.model.times import SECOND
from csitrace.tui.columns import GAP, Column, place
from csitrace.tui.lines import Tone, clean, fit, line, shorten_middle, text_of, width_of, wrap
from csitrace.tui.text import sparkline
from csitrace.tui.why import waterfall_lines

TEXTS = st.text(st.characters(codec="utf-8"), max_size=60)
LINES = st.lists(st.tuples(TEXTS, st.sampled_from(list(Tone))), max_size=5).map(lambda spans: line(*spans))


@given(TEXTS)
def test_clean_text_is_printable_and_as_long(text: str) -> None:
    """No control, bidi or other unprintable character passes; none is added."""
    assert clean(text).isprintable()
    assert len(clean(text)) == len(text)


@given(LINES, st.integers(0, 80), st.booleans())
def test_fitted_lines_have_exactly_their_width(spans: tuple, width: int, right: bool) -> None:  # type: ignore[type-arg]  # a Line
    """However wide its characters, a line fills its cells and no more."""
    assert width_of(fit(spans, width, right)) == width


@given(LINES, st.integers(2, 60), st.integers(0, 10))
def test_wrapping_loses_nothing_but_blanks_and_keeps_to_the_width(
    spans: tuple, width: int, indent: int
) -> None:  # type: ignore[type-arg]  # a Line
    """All characters are there in order; no line is wider than asked (or than its indent and two cells)."""
    lines = wrap(spans, width, indent)
    assert "".join(text_of(each) for each in lines).replace(" ", "") == text_of(spans).replace(" ", "")
    assert all(width_of(each) <= max(width, indent + 2) for each in lines)


@given(TEXTS, st.integers(0, 40))
def test_shortened_names_keep_both_ends(text: str, width: int) -> None:
    """Never wider than asked; unchanged where it fits."""
    short = shorten_middle(text, width)
    assert cell_len(short) <= width
    if cell_len(clean(text)) <= width:
        assert short == clean(text)
    elif width >= 5 and text.isascii():
        assert (short[0], short[-1]) == (clean(text)[0], clean(text)[-1])


COLUMNS = st.lists(
    st.builds(
        Column, st.just("T"), st.just(lambda row, now, width: line()), st.integers(1, 12), st.integers(12, 30),
        st.integers(0, 4), st.integers(0, 3),
    ),
    max_size=8,
)  # fmt: skip


@given(COLUMNS, st.integers(1, 200))
def test_placed_columns_are_in_order_and_within_the_width(columns: list, width: int) -> None:  # type: ignore[type-arg]  # of Columns
    """Columns of priority 0 are always there; unless these alone are too wide, all end within the width."""
    placed = place(columns, width)
    chosen = [each.column for each in placed]
    assert [column for column in columns if not column.priority] == [c for c in chosen if not c.priority]
    assert all(left.left + left.width + GAP == right.left for left, right in pairwise(placed))
    always = [column.minimum for column in columns if not column.priority]
    if placed and sum(always) + GAP * (len(always) - 1) <= width:
        assert placed[-1].left + placed[-1].width <= width


SPANS = st.lists(
    st.builds(
        lambda start, length, tries: SpanView(
            "attach", start, start + length if length else None, "ok" if length else "", tries, "n1", (start,) * tries
        ),
        st.integers(0, 10**15), st.integers(0, 10**12), st.integers(1, 5),
    ),
    max_size=8,
)  # fmt: skip


@given(SPANS, st.integers(40, 200))
def test_waterfall_fits_any_spans_into_any_width(spans: list[SpanView], width: int) -> None:
    """However far apart and however many, every bar is within its line and every span has one."""
    lines = waterfall_lines(tuple(spans), 10**15 + 60 * SECOND, width)
    assert len(lines) == (len(spans) + 1 if spans else 0)
    assert all(width_of(each) <= width for each in lines)


def test_sizes_and_sparklines() -> None:
    """Binary units with two digits at least; the greatest value is the highest bar, nothing is a blank."""
    assert [format_size(count) for count in (0, 1023, 1536, 20 << 20, 1 << 60)] == [
        "0 B", "1023 B", "1.5 KiB", "20 MiB", "1024 PiB",
    ]  # fmt: skip
    assert sparkline([0, 1, 7, 3.5], 4) == " ▂▇▄"
    assert sparkline([], 5) == ""
