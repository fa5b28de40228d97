"""The short version of tests/fuzz: the long one is run by hand."""

from tests.fuzz.trace import fuzz


def test_random_and_mutated_bytes_raise_nothing_but_the_one_error() -> None:
    """A few thousand strings of each kind of mutation, other ones than the long run begins with."""
    fared = fuzz(5_000, number=7)
    assert fared.total() == 5_000
    assert all(fared[how] for how in ("read whole", "read in part", "refused"))
