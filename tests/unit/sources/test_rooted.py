"""Paths as another process sees them."""

from pathlib import Path

import pytest

from csitrace.sources.rooted import resolved, root_of


@pytest.mark.parametrize(
    ("path", "becomes"),
    [
        ("/var/lib/kubelet", "/data/kubelet"),
        ("/var/lib/kubelet/pods/../plugins/", "/data/kubelet/plugins"),
        ("/var/here", "/var/lib"),
        ("/absent/x", "/absent/x"),
        ("/", "/"),
        ("/../..", "/"),
        ("/var/loop", "/var/loop"),
    ],
)
def test_links_are_followed_within_the_other_root(tmp_path: Path, path: str, becomes: str) -> None:
    """An absolute link leads to where it leads there, not here; what is not there, or never ends, is taken as it is."""
    for directory in ("var/lib", "data/kubelet/pods"):
        (tmp_path / directory).mkdir(parents=True)
    (tmp_path / "var/lib/kubelet").symlink_to("/data/kubelet")
    (tmp_path / "var/here").symlink_to("lib")
    (tmp_path / "var/loop").symlink_to("loop")
    assert resolved(path, str(tmp_path)) == becomes


def test_our_own_root_needs_no_prefix(tmp_path: Path) -> None:
    """For ourselves, as realpath(3)."""
    (tmp_path / "link").symlink_to(tmp_path)
    assert (root_of("self"), root_of("1")) == ("", "/proc/1/root")
    assert resolved(str(tmp_path / "link")) == str(tmp_path.resolve())
