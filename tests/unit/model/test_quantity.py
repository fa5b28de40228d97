"""Sizes are read as the API server spells them."""

import pytest

from csitrace.model.quantity import size_of


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("64Mi", 64 << 20), ("1Ki", 1024), ("1k", 1000), ("1.5Gi", 3 << 29), ("2Ti", 2 << 40), ("1E", 10**18), ("1Ei", 1 << 60),
        ("7", 7), ("1e3", 1000), ("1E3", 1000), ("1500m", 2), (".5Ki", 512), ("0", 0),
    ],
)  # fmt: skip
def test_a_size_is_read_whatever_its_unit(text: str, size: int) -> None:
    """Binary and decimal suffixes, exponents, fractions; rounded up to a byte."""
    assert size_of(text) == size


@pytest.mark.parametrize("text", ["", "Mi", "-1", "1Xi", "1 Gi", "1ki", "one"])
def test_what_is_no_size_is_none(text: str) -> None:
    """Nothing is guessed, and nothing raises."""
    assert size_of(text) is None
