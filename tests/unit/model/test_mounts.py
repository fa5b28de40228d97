"""mountinfo lines are read as the kernel writes them, and odd ones are passed over."""

from hypothesis import given
from hypothesis import strategies as st

from csitrace.model.mounts import parse_mountinfo, parse_mountinfo_line

LINE = r"36 35 0:98 /mnt1 /mnt/my\040dir rw,noatime master:1 shared:2 - fuse.s3fs s3\134bucket rw,user_id=0"


def test_every_field_of_a_line_is_read() -> None:
    """Ids, device, root, mount point, options, optional fields, type, source, super options; octal escapes undone."""
    mount = parse_mountinfo_line(LINE)
    assert mount is not None
    assert (mount.mount_id, mount.parent_id, mount.device) == (36, 35, (0, 98))
    assert (mount.root, mount.mount_point) == ("/mnt1", "/mnt/my dir")
    assert (mount.options, mount.propagation) == ("rw,noatime", "master:1 shared:2")
    assert (mount.fs_type, mount.source, mount.super_options) == ("fuse.s3fs", "s3\\bucket", "rw,user_id=0")
    assert mount.is_fuse
    assert not mount.read_only


def test_fusectl_is_no_fuse_mount() -> None:
    """The control file system has "fuse" in its name and no daemon."""
    mount = parse_mountinfo_line("26 23 0:22 / /sys/fs/fuse/connections rw - fusectl none rw")
    assert mount is not None
    assert not mount.is_fuse


def test_this_machines_own_mountinfo_is_read_whole() -> None:
    """Every line of the real file is a mount."""
    with open("/proc/self/mountinfo") as file:
        text = file.read()
    assert len(list(parse_mountinfo(text))) == len(text.splitlines())


@given(st.text())
def test_any_text_is_read_without_an_error(text: str) -> None:
    """Torn and foreign lines are passed over."""
    assert len(list(parse_mountinfo(text))) <= len(text.splitlines())


@given(st.lists(st.sampled_from(LINE.split(" "))))
def test_shuffled_fields_are_read_without_an_error(words: list[str]) -> None:
    """Whatever of a line is left, the answer is a mount or None."""
    parsed = parse_mountinfo_line(" ".join(words))
    assert parsed is None or parsed.mount_point
