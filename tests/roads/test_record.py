"""docs/roads.md is what was seen on the roads, of all roads."""

from tests.roads import record
from tests.roads.catalogue import ROADS


def test_the_docs_are_made_of_the_recording() -> None:
    """docs/roads.md is what the recording gives; after a change: CSITRACE_RECORD=roads with the road's test,
    or `python -m tests.roads.record` where only its words have changed."""
    assert record.DOCUMENT.read_text() == record.document(record.read(), ROADS)


def test_the_docs_name_every_road() -> None:
    """No road is left out of docs/roads.md, and what stands there under a name is that road's own."""
    text = record.DOCUMENT.read_text()
    assert [
        road.name for road in ROADS if f"## {road.title}\n" not in text or f"(`{road.name}`)" not in text
    ] == []


def test_names_are_unique() -> None:
    """A road's name is its identity in results and recording."""
    names = [road.name for road in ROADS]
    assert len(names) == len(set(names))
