"""The pure parts of following a mount table: what matters, what a reply says, what changed."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from csitrace.model.mounts import Mount, parse_mountinfo
from csitrace.sources.mountinfo.interest import Interest
from csitrace.sources.mountinfo.syscalls import FAN_MNT_ATTACH, FAN_MNT_DETACH, FAN_Q_OVERFLOW
from csitrace.sources.mountinfo.watchers import WAYS, _difference, _last_word, open_watcher


def _mount(mount_id: int = 1, mount_point: str = "/k/pods/x", **fields: str) -> Mount:
    return Mount(
        mount_id=mount_id, parent_id=0, major=0, minor=40, root="/", mount_point=mount_point, **fields
    )


@pytest.mark.parametrize(
    ("mount", "matters"),
    [
        (_mount(mount_point="/k/pods/p/volumes/kubernetes.io~csi/pv/mount", fs_type="fuse.driver_ref"), True),
        (_mount(mount_point="/k/plugins/driver/data", fs_type="ext4"), True),
        (_mount(mount_point="/k", fs_type="ext4"), False),
        (_mount(mount_point="/kubelet/pods", fs_type="tmpfs"), False),
        (_mount(mount_point="/k/containers/1/rootfs", fs_type="overlay"), False),
        (_mount(mount_point="/k/containers/1/shm", fs_type="tmpfs", source="shm"), False),
        (
            _mount(mount_point="/k/pods/p/volumes/kubernetes.io~secret/s", fs_type="tmpfs", source="tmpfs"),
            True,
        ),
    ],
)
def test_interest_is_all_below_the_root_but_the_file_systems_of_containers(
    mount: Mount, matters: bool
) -> None:
    """Whole path components count; a container's overlay and shm do not."""
    assert Interest(("/k",)).mount(mount) is matters


def test_the_root_directory_itself_can_be_the_root_of_interest() -> None:
    """A kubelet root of / means every mount but the first."""
    interest = Interest.below("/")
    assert interest.path("/anything")
    assert not interest.path("")


def test_a_linked_root_is_of_interest_by_both_names(tmp_path: Path) -> None:
    """The name given and the place it leads to."""
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    assert Interest.below(f"{tmp_path}/link/").roots == (f"{tmp_path}/link", f"{tmp_path}/real")


_words = st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=8)


@given(root=_words, child=_words)
def test_the_cheap_test_of_a_line_lets_every_mount_of_interest_pass(root: str, child: str) -> None:
    """Whatever characters a path has and mountinfo escapes."""

    def escaped(path: str) -> str:
        return "".join(f"\\{ord(char):03o}" if char in " \t\n\\" else char for char in path)

    interest = Interest((f"/{root}",))
    line = f"30 29 0:40 / {escaped(f'/{root}/{child}')} rw - tmpfs tmpfs rw"
    assert any(mark in line.encode() for mark in interest.line_marks())
    assert [mount.mount_point for mount in parse_mountinfo(line) if interest.mount(mount)] == [
        f"/{root}/{child}"
    ]


_events = st.lists(
    st.tuples(
        st.sampled_from([FAN_MNT_ATTACH, FAN_MNT_DETACH, FAN_MNT_ATTACH | FAN_MNT_DETACH]), st.integers(1, 4)
    )
)


@given(_events)
def test_the_last_event_of_a_mount_decides(events: list[tuple[int, int]]) -> None:
    """A mount is attached or detached by its last event, never both; a move leaves it attached."""
    attached, detached, overflowed = _last_word(events)
    last = {mount_id: bool(mask & FAN_MNT_ATTACH) for mask, mount_id in events}
    assert {*attached} == {mount_id for mount_id, is_attached in last.items() if is_attached}
    assert {*detached} == last.keys() - {*attached}
    assert len(attached) + len(detached) == len(last)
    assert not overflowed


def test_an_overflow_among_the_events_is_noticed() -> None:
    """The record of an overflow names no mount."""
    assert _last_word([(FAN_MNT_ATTACH, 1), (FAN_Q_OVERFLOW, 0)]) == ([1], [], True)


_tables = st.dictionaries(
    st.integers(1, 4),
    st.builds(_mount, st.just(1), st.sampled_from(["/k/a", "/k/b"]), options=st.sampled_from(["rw", "ro"])),
)


@given(_tables, _tables)
def test_a_difference_leads_from_the_old_to_the_new(old: dict[int, Mount], new: dict[int, Mount]) -> None:
    """Everything new appeared; what vanished is what is gone or elsewhere, not what only changed its options."""
    changes = _difference(old, new)
    assert list(changes.appeared) == [new[key] for key in sorted(new)]
    stayed = {key for key in old if key in new and old[key].mount_point == new[key].mount_point}
    assert list(changes.vanished) == [old[key] for key in sorted(old, reverse=True) if key not in stayed]


def test_the_first_way_that_works_is_taken_and_the_others_refusals_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each refusal is named in words; the last way's error is the caller's."""

    def refuse(pid: str, interest: Interest) -> None:
        raise OSError(38, "Function not implemented")

    monkeypatch.setitem(WAYS, "new", refuse)
    watcher, refusals = open_watcher("self", Interest.below("/k"), ["new", "mountinfo"])
    watcher.close()
    assert (watcher.name, refusals) == ("mountinfo", "new: Function not implemented")
    with pytest.raises(OSError, match="Function not implemented"):
        open_watcher("self", Interest.below("/k"), ["new"])
