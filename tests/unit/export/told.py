"""Recordings that the exporters' tests are told: a whole life, and one that is stuck, with names of the test's choice."""

from csitrace.lifecycle.chronicle import Chronicle, chronicle
from csitrace.lifecycle.paths import staging_digest
from csitrace.model import events
from csitrace.model.events import Witness
from csitrace.model.fuse import OpCount
from tests import story
from tests.story import Story, straight_road, way_back_road

HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)>\"'&;#`|\u202e\x1b[31m\r\n=1+1"


def whole_life() -> Story:
    """From the claim to nothing left, with one call that failed first, FUSE counters, a mark and a gap."""
    told = straight_road()[-1][1]
    told.tell(events.Marked(text="before the drain"))
    told.tell(
        events.FuseCounted(
            node_name=story.NODE, connection=50, volume_id=story.HANDLE, interval_ns=10**9,
            ops={"READ": OpCount(count=7), "LOOKUP": OpCount(count=3)},
        )
    )  # fmt: skip
    told.tell(events.FuseObserved(node_name=story.NODE, connection=50, volume_id=story.HANDLE, waiting=2))
    told.tell(events.FuseObserved(node_name=story.NODE, connection=50, volume_id=story.HANDLE, waiting=0))
    told.tell(events.SourceGap(witness=Witness.KERNEL, scope=story.NODE, reason="queue overflow", lost=3))
    return way_back_road(told)


def stuck(message: str = "backend refuses vol-1 on n1") -> Story:
    """Attaching was refused twice; the cluster says so, too."""
    chapters = dict(straight_road())
    told = chapters["12"]
    told.put(story.storage_class())
    for _ in range(2):
        told.rpc("ControllerPublishVolume", 8, message, node_id=story.NODE)
    told.put(story.attachment(finalizer=True, error=message))
    told.put(story.happened("FailedAttachVolume", message, story.pod(story.NODE)))
    return told


def renamed(told: Story, names: dict[str, str]) -> list[events.TraceEvent]:
    """The events with other names in every text, as a cluster with those names would have told them."""
    import msgspec

    digests = {staging_digest(old): staging_digest(new) for old, new in names.items()}

    def text(value: object) -> object:
        if isinstance(value, str):
            for old, new in {**digests, **names}.items():
                value = value.replace(old, new)
            return value
        if isinstance(value, dict):
            return {key: inner if key == "type" else text(inner) for key, inner in value.items()}
        return [text(inner) for inner in value] if isinstance(value, list | tuple) else value

    return [
        msgspec.structs.replace(
            event, body=msgspec.convert(text(msgspec.to_builtins(event.body)), type=events.Body)
        )
        for event in told.events
    ]


def of(told: Story, title: str = "incident") -> Chronicle:
    return chronicle(told.events, title)
