"""A volume's FUSE connections through the lives of its pods: what has ended is not taken for what serves it now."""

import pytest

from csitrace.lifecycle.fuse import fuse_states
from csitrace.lifecycle.views import Severity
from csitrace.model import events
from csitrace.model.fuse import DaemonStatus
from tests.story import (
    HANDLE,
    NODE,
    STAGING,
    TARGET,
    Story,
    attachment,
    node,
    pod,
    straight_road,
)

FIRST = DaemonStatus(pid=41, started_at=1)
SECOND = DaemonStatus(pid=42, started_at=2)
DONE = DaemonStatus(pid=41, started_at=1, exited="exited with 0")
KILLED = DaemonStatus(pid=41, started_at=1, exited="killed by SIGKILL")


def served(story: Story, minor: int = 50, volume_id: str = HANDLE, **what: object) -> Story:
    story.tell(events.FuseObserved(node_name=NODE, connection=minor, volume_id=volume_id, **what))  # type: ignore[arg-type]
    return story


def in_use() -> Story:
    return served(dict(straight_road())["17"], daemon=FIRST, init_answered=True)


def unmounted(story: Story) -> Story:
    """The pod is gone, the volume unstaged."""
    story.unmount(TARGET, 101).remove(pod(NODE, "terminated", started=True, deleting=True))
    story.unmount(STAGING, 100)
    return story


def mounted_again(story: Story, minor: int) -> Story:
    """Another pod of the same name runs with the volume."""
    target = TARGET.replace("aaaaaaaa", "bbbbbbbb")
    uid = target.split("/pods/")[1].partition("/")[0]
    story.put(pod(NODE, "waiting", started=True, uid=uid)).put(attachment(attached=True, finalizer=True))
    story.put(node(in_use=True, attached=True))
    story.rpc("NodeStageVolume", staging_target_path=STAGING).mount(STAGING, 200, minor=minor)
    story.rpc("NodePublishVolume", staging_target_path=STAGING, target_path=target)
    story.mount(target, 201, minor=minor)
    story.put(pod(NODE, "running", "Running", started=True, uid=uid))
    return story


@pytest.mark.parametrize("minor", [50, 51], ids=["same number", "another number"])
@pytest.mark.parametrize("ended", [DONE, KILLED], ids=["ended", "killed"])
def test_a_new_pod_has_a_new_connection(ended: DaemonStatus, minor: int) -> None:
    """The daemon of the last pod ended, as it should or not; the one of this pod is well, whatever number the kernel gave it."""
    story = served(unmounted(in_use()), daemon=ended, aborted=True)
    story = served(mounted_again(story, minor), minor, daemon=SECOND, init_answered=True)
    assert story.verdict().severity is Severity.OK
    (connection,) = fuse_states(story.state, story.volume)
    assert (connection.daemon, connection.ended) == (SECOND, False)


def test_a_new_connection_is_known_without_its_daemon() -> None:
    """Where nobody may see daemons, the new mount on an old number still is not the connection that was given up."""
    story = served(unmounted(in_use()), aborted=True)
    story = served(mounted_again(story, 50), waiting=0)
    assert story.verdict().severity is Severity.OK


def test_a_dead_daemon_stays_dead_while_it_is_mounted() -> None:
    """A late sample of the process that was killed, or another bind mount of its connection, does not revive it."""
    story = served(in_use(), daemon=KILLED, aborted=True)
    served(story, daemon=FIRST, waiting=0)
    story.mount(f"{TARGET}-again", 102)
    word = story.verdict()
    assert (word.severity, "killed by SIGKILL" in word.sentence) == (Severity.STUCK, True)


def test_the_end_of_an_unmounted_daemon_is_no_finding() -> None:
    """Every daemon ends after its last mount: a volume at rest, its claim kept, has no FUSE connection and no trouble."""
    story = served(unmounted(in_use()), daemon=DONE, aborted=True)
    assert fuse_states(story.state, story.volume) == ()
    assert story.verdict().severity < Severity.STUCK


def test_a_number_given_to_another_volume_is_no_longer_the_first_ones() -> None:
    """After the kernel gave the connection's number to another volume, its operations are not told as the first one's."""
    story = served(unmounted(in_use()), volume_id="vol-2", daemon=SECOND)
    assert fuse_states(story.state, story.volume) == ()
