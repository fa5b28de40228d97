"""Which place a volume gets."""

from hypothesis import given
from hypothesis import strategies as st

from driver_ref.topology import choose, satisfies

_segments = st.dictionaries(st.sampled_from("abc"), st.sampled_from("12"), max_size=3)


@given(st.lists(_segments), st.lists(_segments), st.lists(_segments))
def test_the_choice_is_one_of_the_wanted_places_with_a_node_in_it(
    preferred: list[dict[str, str]], requisite: list[dict[str, str]], nodes: list[dict[str, str]]
) -> None:
    """And the first such; None only when there is none."""
    possible = [place for place in preferred + requisite if any(satisfies(node, place) for node in nodes)]
    chosen = choose(preferred, requisite, nodes)
    if not preferred and not requisite:
        assert chosen == {}
    else:
        assert chosen == (possible[0] if possible else None)


@given(_segments, _segments)
def test_a_place_satisfies_its_own_part(place: dict[str, str], other: dict[str, str]) -> None:
    """Every subset of a place's segments contains it; a segment of another value does not."""
    assert satisfies(place | other, other)
    assert satisfies(place, {})
    assert satisfies(place, other) == (other.items() <= place.items())
