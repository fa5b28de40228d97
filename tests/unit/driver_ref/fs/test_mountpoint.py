"""Finding a mount in the kernel's table."""

from driver_ref.fs.mountpoint import connection_at

MOUNTINFO = """\
27 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
40 27 0:39 / /mnt/with\\040space\\134 rw,nosuid - fuse.driver_ref vol-1 rw,user_id=0
41 27 0:40 / /mnt/twice rw - fuse.driver_ref vol-2 rw
42 41 0:41 / /mnt/twice rw - fuse.driver_ref vol-3 rw

odd
"""


def test_the_mount_on_top_is_found_by_its_path() -> None:
    """Escapes are undone, the last mount on a path wins, lines that are none are passed over."""
    assert connection_at("/mnt/with space\\", MOUNTINFO) == 39
    assert connection_at("/mnt/twice", MOUNTINFO) == 41
    assert connection_at("/mnt/twic", MOUNTINFO) is None
    assert connection_at("/mnt", MOUNTINFO) is None


def test_the_real_table_has_no_mount_where_there_is_none() -> None:
    """Read from the kernel, a path that nobody could mount on is absent."""
    assert connection_at("/no/such/mount/point") is None
    assert connection_at("/") is not None
