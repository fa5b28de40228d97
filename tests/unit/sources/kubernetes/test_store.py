"""What is new in what the server says."""

from hypothesis import given
from hypothesis import strategies as st

from csitrace.model.events import Body, ObjectAdded, ObjectDeleted, ObjectListed, ObjectModified, Stamp
from csitrace.model.kubernetes import Event, ObjectMeta, Pod
from csitrace.sources.kubernetes.store import Store, observation


def pod(name: str, uid: str = "", version: str = "1", namespace: str = "shop") -> Pod:
    return Pod(
        metadata=ObjectMeta(
            name=name, namespace=namespace, uid=uid or f"uid-{name}", resource_version=version
        )
    )


def relist(store: Store, *pods: Pod) -> list[Body]:
    store.begin_list()
    return [body for item in pods for body in store.listed(item)] + store.end_list()


def test_first_list() -> None:
    """What is there at first is listed, not added: nobody saw it come."""
    assert relist(Store(), pod("a")) == [ObjectListed(object=pod("a"))]


def test_relist_tells_only_differences() -> None:
    """The same resourceVersion is no news; another is a change; what is not there any more was deleted unseen."""
    store = Store()
    relist(store, pod("same"), pod("changed"), pod("gone"))
    assert relist(store, pod("same"), pod("changed", version="2"), pod("new")) == [
        ObjectModified(object=pod("changed", version="2")),
        ObjectListed(object=pod("new")),
        ObjectDeleted(object=pod("gone"), missed=True),
    ]


def test_same_name_is_not_the_same_object() -> None:
    """A new uid under an old name: the old one is told gone before the new one is told there."""
    store = Store()
    relist(store, pod("a", "first"))
    bodies = [ObjectDeleted(object=pod("a", "first"), missed=True), ObjectListed(object=pod("a", "second"))]
    assert relist(store, pod("a", "second")) == bodies


def test_watch() -> None:
    """Added, modified, deleted follow from what was known, whatever the server calls them; a repetition is no news."""
    store = Store()
    assert store.changed(pod("a")) == [ObjectAdded(object=pod("a"))]
    assert store.changed(pod("a")) == []
    assert store.changed(pod("a", version="2")) == [ObjectModified(object=pod("a", version="2"))]
    assert store.deleted(pod("a", version="3")) == [ObjectDeleted(object=pod("a", version="3"))]
    assert len(store) == 0


def test_unreadable_item_is_not_deleted() -> None:
    """What could not be read is still there; if its name could not be read either, nothing counts as gone."""
    store = Store()
    relist(store, pod("a"), pod("b"))
    store.begin_list()
    store.excuse("shop/a")
    assert store.end_list() == [ObjectDeleted(object=pod("b"), missed=True)]
    store.begin_list()
    store.excuse("")
    assert store.end_list() == []


def test_narrower_scope_is_no_deletion() -> None:
    """Objects of namespaces that may not be read any more are unknown, not deleted."""
    store = Store()
    relist(store, pod("a"), pod("b", namespace="bank"))
    store.narrow("shop")
    assert relist(store, pod("a")) == []


PODS = st.builds(pod, st.sampled_from("abc"), st.sampled_from("xyz"), st.sampled_from("123"))


@given(st.lists(st.one_of(PODS, st.lists(PODS, max_size=3, unique_by=lambda item: item.name)), max_size=20))
def test_facts_rebuild_the_store(history: list[Pod | list[Pod]]) -> None:
    """Whoever folds the facts knows what the server last told, after any mix of changes and lists."""
    store, told, folded = Store(), dict[str, Pod](), dict[str, Pod]()
    for item in history:
        if isinstance(item, list):
            bodies, told = relist(store, *item), {entry.name: entry for entry in item}
        else:
            bodies, told[item.name] = store.changed(item), item
        for body in bodies:
            match body:
                case ObjectDeleted(object=Pod() as gone):
                    assert folded.pop(gone.name).uid == gone.uid
                case ObjectListed(object=Pod() as there) | ObjectAdded(object=Pod() as there):
                    assert there.name not in folded
                    folded[there.name] = there
                case ObjectModified(object=Pod() as changed):
                    folded[changed.name] = changed
    assert {(p.name, p.uid, p.metadata.resource_version) for p in folded.values()} == {
        (p.name, p.uid, p.metadata.resource_version) for p in told.values()
    }


def test_times() -> None:
    """A listed object tells when it was created, an Event when it was said, a watched change nothing."""
    created = ObjectMeta(name="a", creation_timestamp="1970-01-01T00:00:01Z")
    listed = observation(ObjectListed(object=Pod(metadata=created)))
    assert (listed.occurred_at, listed.stamp) == (1_000_000_000, Stamp.SERVER)
    said = observation(ObjectModified(object=Event(last_timestamp="1970-01-01T00:00:02Z")))
    assert (said.occurred_at, said.stamp) == (2_000_000_000, Stamp.SERVER)
    changed = observation(ObjectModified(object=Pod(metadata=created)))
    assert (changed.occurred_at, changed.stamp) == (None, Stamp.OBSERVED)
    odd = observation(ObjectListed(object=Pod(metadata=ObjectMeta(creation_timestamp="yesterday"))))
    assert (odd.occurred_at, odd.stamp) == (None, Stamp.OBSERVED)
