"""The store: revisions, lists as of a revision, compaction."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from csitrace.lab.apiserver.resources import NODES, PODS
from csitrace.lab.apiserver.store import Store
from csitrace.lab.status import Object, StatusError

OPERATIONS = st.lists(
    st.tuples(st.sampled_from(["create", "update", "delete"]), st.sampled_from("abc"), st.integers(0, 3)),
    max_size=40,
)


def pod(name: str, value: int = 0) -> Object:
    return {"metadata": {"name": name, "namespace": "demo"}, "spec": {"value": value}}


@given(OPERATIONS)
def test_a_list_as_of_a_revision_is_what_was_listed_then(
    operations: list[tuple[str, str, int]],
) -> None:
    """Every snapshot that the history still covers can be taken again, whatever was written since."""
    store = Store()
    seen = {store.revision: store.objects(PODS)}
    for operation, name, value in operations:
        try:
            getattr(store, operation)(PODS, pod(name, value))
        except StatusError:
            continue
        seen[store.revision] = store.objects(PODS)
    assert {revision: store.objects(PODS, at=revision) for revision in seen} == seen


@given(OPERATIONS)
def test_changes_replay_to_the_present(operations: list[tuple[str, str, int]]) -> None:
    """Who starts with nothing and follows all changes knows what a list tells."""
    store = Store()
    for operation, name, value in operations:
        try:
            getattr(store, operation)(PODS, pod(name, value))
        except StatusError:
            continue
    known: dict[str, Object] = {}
    for change in store.changes_after(1):
        name = change.object["metadata"]["name"]
        assert known.get(name) == change.previous
        if change.deleted:
            del known[name]
        else:
            known[name] = change.object
    assert [known[name] for name in sorted(known)] == store.objects(PODS)


def test_writing_the_same_again_takes_no_revision() -> None:
    """A write that changes nothing is no change, and wakes nobody."""
    store = Store()
    created = store.create(PODS, pod("a"))
    assert store.update(PODS, created) is created
    assert store.revision == int(created["metadata"]["resourceVersion"])


def test_old_revisions_expire() -> None:
    """Beyond its bounded history the store says 410, and never guesses."""
    store = Store(history=2)
    first = int(store.create(PODS, pod("a"))["metadata"]["resourceVersion"])
    for name in "bcd":
        store.create(PODS, pod(name))
    for ask in (store.changes_after, lambda revision: store.objects(PODS, at=revision)):
        with pytest.raises(StatusError) as caught:
            ask(first - 1)
        assert caught.value.reason == "Expired"


def test_names_are_taken_once() -> None:
    """A second object of the same name is a conflict, one of another resource is not."""
    store = Store()
    store.create(PODS, pod("a"))
    store.create(NODES, {"metadata": {"name": "a"}})
    with pytest.raises(StatusError) as caught:
        store.create(PODS, pod("a"))
    assert caught.value.reason == "AlreadyExists"


async def test_all_that_wait_are_woken_by_each_change() -> None:
    """No waiter misses a change of its resource that comes while it waits; others do not wake it."""
    store = Store()
    waiting = [asyncio.create_task(store.wait_change(PODS, store.revision)) for _ in range(3)]
    store.create(NODES, {"metadata": {"name": "a"}})
    await asyncio.wait(waiting, timeout=0.01)
    assert not any(task.done() for task in waiting)
    store.create(PODS, pod("a"))
    await asyncio.gather(*waiting)
