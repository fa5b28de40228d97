"""Label and field selectors mean what they mean to kubectl."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from csitrace.lab.apiserver.resources import EVENTS, PODS
from csitrace.lab.apiserver.selectors import parse_field_selector, parse_label_selector
from csitrace.lab.status import StatusError

POD = {
    "metadata": {"name": "web", "namespace": "demo", "labels": {"app": "web", "tier": "front"}},
    "spec": {"nodeName": "n1"},
    "status": {"phase": "Running"},
}


@pytest.mark.parametrize(
    ("selector", "selected"),
    [
        ("", True),
        ("app=web", True),
        ("app==web,tier=front", True),
        ("app!=web", False),
        ("app!=db", True),
        ("zone!=a", True),
        ("tier in (front, back)", True),
        ("tier in (back),app=web", False),
        ("tier notin (back)", True),
        ("zone notin (a)", True),
        ("app", True),
        ("zone", False),
        ("!zone", True),
        ("!app", False),
    ],
)
def test_label_selector(selector: str, selected: bool) -> None:
    """Equality, sets and existence; an absent label is unequal to every value."""
    assert parse_label_selector(selector)(POD) is selected


@pytest.mark.parametrize(
    ("selector", "selected"),
    [
        ("spec.nodeName=n1", True),
        ("spec.nodeName=", False),
        ("spec.nodeName!=n1", False),
        ("metadata.name=web,status.phase!=Pending", True),
        ("metadata.namespace=other", False),
    ],
)
def test_field_selector(selector: str, selected: bool) -> None:
    """Fields compare as text."""
    assert parse_field_selector(selector, PODS)(POD) is selected


def test_an_absent_field_is_empty() -> None:
    """`spec.nodeName=` selects the pods that are not scheduled."""
    assert parse_field_selector("spec.nodeName=", PODS)(POD | {"spec": {}})


def test_events_are_selected_by_their_source_component() -> None:
    """The API's field `source` of an Event is its component."""
    event = {"metadata": {"name": "e"}, "source": {"component": "kubelet"}}
    assert parse_field_selector("source=kubelet", EVENTS)(event)


@pytest.mark.parametrize("selector", ["spec.containers=1", "metadata.labels=a", "nodeName", "a b=c"])
def test_unknown_fields_are_refused(selector: str) -> None:
    """What cannot be selected by is an error, not an empty answer."""
    with pytest.raises(StatusError) as caught:
        parse_field_selector(selector, PODS)
    assert caught.value.code == 400


@given(st.text(max_size=40))
def test_any_text_is_read_or_refused(text: str) -> None:
    """A label selector that cannot be read raises StatusError 400 and nothing else."""
    try:
        parse_label_selector(text)(POD)
    except StatusError as error:
        assert error.code == 400  # noqa: PT017 - either outcome is right, no other exception is
