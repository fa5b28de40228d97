"""Quantities survive the way to text and back."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from csitrace.lab.quantity import format_quantity, parse_quantity


@given(st.integers(min_value=0, max_value=1 << 60))
def test_round_trip(size: int) -> None:
    """What is written is read as the same number of bytes."""
    assert parse_quantity(format_quantity(size)) == size


@pytest.mark.parametrize(
    ("text", "size"), [("64Mi", 64 << 20), ("1G", 10**9), ("512k", 512_000), ("7", 7), ("2Ti", 2 << 40)]
)
def test_units(text: str, size: int) -> None:
    """Binary and decimal units are told apart."""
    assert parse_quantity(text) == size


@pytest.mark.parametrize("text", ["", "Mi", "1.5Gi", "-1", "1Xi", "1 Gi"])
def test_what_is_no_quantity_is_refused(text: str) -> None:
    """Nothing is guessed."""
    with pytest.raises(ValueError, match="is no quantity"):
        parse_quantity(text)
