"""Files as they come: encodings, archives, trees with what is no file, bombs, names that lead elsewhere."""

import gzip
import io
import json
import os
import struct
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from csitrace.errors import TraceError
from csitrace.model.events import ListCompleted, MountAppeared, ObjectListed, RpcStarted, TraceEvent
from csitrace.model.times import DAY, SECOND
from csitrace.sources.imports import archives
from csitrace.sources.imports.hints import Hints
from csitrace.sources.imports.importing import open_import
from csitrace.sources.imports.inputs import inputs
from tests import story as told
from tests.story import START
from tests.unit.sources.imports.test_dumps import a_list, as_kubectl, events_of, write
from tests.unit.sources.imports.test_log_lines import an_attach
from tests.unit.sources.imports.test_logs import log

LISTED = json.dumps(a_list(as_kubectl(told.pv()), as_kubectl(told.claim())), indent=4)

_NOBODY = 65534


def kinds(events: list[TraceEvent]) -> list[str]:
    return [event.body.object.kind for event in events if isinstance(event.body, ObjectListed)]


@pytest.mark.parametrize("form", ["json", "yaml"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-be-sig"])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_what_windows_shells_write_is_read(tmp_path: Path, form: str, encoding: str, newline: str) -> None:
    """CRLF, a byte order mark, UTF-16 of either order (PowerShell's `>`): the same objects, and lists that are complete."""
    plain = write(tmp_path / "plain", json.loads(LISTED), form).read_text()
    text = plain.replace("\n", newline)
    mark = "\ufeff" if encoding == "utf-16-be-sig" else ""
    path = tmp_path / "dump"
    path.write_bytes((mark + text).encode(encoding.removesuffix("-sig") if mark else encoding))
    events = events_of(path)
    assert kinds(events) == ["PersistentVolume", "PersistentVolumeClaim"]
    assert sum(isinstance(event.body, ListCompleted) for event in events) == 2


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_logs_and_mount_tables_of_windows_shells_are_read(tmp_path: Path, encoding: str) -> None:
    """Their first line counts too, and no carriage return stays in a mount's options."""
    mount = f"100 1 0:50 / {told.TARGET} rw - fuse.csitrace ref rw"
    table, attacher = tmp_path / "n1.mountinfo", tmp_path / "a.log"
    table.write_bytes(f"{mount}\r\n".encode(encoding))
    attacher.write_bytes("\r\n".join(an_attach()).encode(encoding))
    recording = open_import([table, attacher], hints=Hints(driver=told.DRIVER))
    bodies = [event.body for event in recording.events]
    assert [body.mount.super_options for body in bodies if isinstance(body, MountAppeared)] == ["rw"]
    assert [body.volume_id for body in bodies if isinstance(body, RpcStarted)] == ["vol-1"]


def test_half_a_character_of_utf_16_is_no_end(tmp_path: Path) -> None:
    """A file that is torn within one, or holds a lone surrogate, is read as far as it goes."""
    path = tmp_path / "dump"
    path.write_bytes(LISTED.encode("utf-16") + b"\x00\xd8\x41")
    assert kinds(events_of(path)) == ["PersistentVolume", "PersistentVolumeClaim"]


def a_tree(root: Path) -> Path:
    """A must-gather with a log in it."""
    write(root / "cluster-scoped-resources/core/persistentvolumes/one.yaml", as_kubectl(told.pv()), "yaml")
    claims = a_list(as_kubectl(told.claim()))
    write(root / "namespaces/shop/core/persistentvolumeclaims.yaml", claims, "yaml")
    current = root / "namespaces/kube-system/pods/csi-0/attacher/attacher/logs/current.log"
    log(current, *(f"2026-01-02T10:00:02Z {line}" for line in an_attach()), at=START)
    log(
        root / "namespaces/kube-system/pods/csi-0/attacher/attacher/logs/previous.log",
        *an_attach(20),
        at=START,
    )
    return root


def tarred(tree: Path, path: Path, mode: str) -> None:
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
        archive.add(tree, "gathered")


def zipped(tree: Path, path: Path, mode: str) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(tree.rglob("*")):
            archive.write(file, f"gathered/{file.relative_to(tree)}")


@pytest.mark.parametrize(
    ("pack", "mode"), [(tarred, "w"), (tarred, "w:gz"), (zipped, "")], ids=["tar", "tar.gz", "zip"]
)
def test_an_archive_of_a_tree_tells_what_the_tree_tells(
    tmp_path: Path, pack: Callable[[Path, Path, str], None], mode: str
) -> None:
    """Objects, and logs of both kinds: those that say their times, and those that wait for the others'."""
    tree, packed = a_tree(tmp_path / "tree"), tmp_path / "packed"
    pack(tree, packed, mode)
    os.utime(packed, ns=(START, START))
    hints = Hints(driver=told.DRIVER)
    expected = [type(event.body) for event in open_import([tree], hints=hints).events]
    assert [type(event.body) for event in open_import([packed], hints=hints).events] == expected
    assert expected.count(RpcStarted) == 2


@pytest.mark.parametrize("raw", [LISTED.encode(), ("\n".join(an_attach()) + "\n").encode()])
def test_a_single_gzip_file_is_read(tmp_path: Path, raw: bytes) -> None:
    """`kubectl … | gzip`, a rotated log: what is in it, with the time of the file."""
    plain, packed = tmp_path / "plain", tmp_path / "packed.gz"
    plain.write_bytes(raw)
    packed.write_bytes(gzip.compress(raw))
    for path in (plain, packed):
        os.utime(path, ns=(START + DAY, START + DAY))
    hints = Hints(driver=told.DRIVER)
    one, other = (
        [e.occurred_at for e in open_import([path], hints=hints).events] for path in (plain, packed)
    )
    assert one == other


@pytest.mark.parametrize(
    "raw",
    [b"\x1f\x8b\x08" + b"\xff" * 99, gzip.compress(LISTED.encode(), mtime=0)[:15]],
    ids=["damaged", "cut off"],
)
def test_a_gzip_file_without_anything_whole_is_said(tmp_path: Path, raw: bytes) -> None:
    """Bytes that were lost on the way: one line, and no other error."""
    path = tmp_path / "dump.gz"
    path.write_bytes(raw)
    with pytest.raises(TraceError, match=r"dump.gz: cannot be read: .*"):
        open_import([path])


@pytest.mark.parametrize("form", ["json", "yaml"])
def test_a_gzip_file_that_is_cut_off_gives_what_it_has(tmp_path: Path, form: str) -> None:
    """A download that broke off: the objects before the end count; that others are absent does not."""
    nodes = [as_kubectl(told.node()) for _ in range(60)]
    for index, node in enumerate(nodes):
        node["metadata"] |= {"name": f"n{index}", "uid": os.urandom(300).hex()}
    raw = gzip.compress(write(tmp_path / "dump", a_list(*nodes), form).read_bytes())
    path = tmp_path / "dump.gz"
    path.write_bytes(raw[: len(raw) // 2])
    recording = open_import([path])
    events = list(recording.events)
    assert 15 < len(kinds(events)) < 45
    assert not any(isinstance(event.body, ListCompleted) for event in events)
    assert f"{path}: is damaged or cut off: read as far as it goes" in recording.notes


def test_a_packed_log_that_is_cut_off_is_said_once(tmp_path: Path) -> None:
    """Its lines say no year, so that it is opened more than once: its calls as far as it goes, and one note of the end."""
    lines = [line for second in range(40) for line in an_attach(second)]
    noise = [f"I0102 10:01:00.000000       1 a.go:1] {os.urandom(60).hex()}" for _ in range(4_000)]
    raw = gzip.compress("\n".join(lines + noise).encode())
    path = tmp_path / "a.log.gz"
    path.write_bytes(raw[: len(raw) // 2])
    recording = open_import([path], hints=Hints(driver=told.DRIVER))
    assert sum(isinstance(event.body, RpcStarted) for event in recording.events) == 40
    assert sum("is damaged or cut off" in note for note in recording.notes) == 1


def test_a_yaml_list_that_is_torn_is_not_complete_and_its_last_object_not_whole(tmp_path: Path) -> None:
    """kubectl writes a list's kind after its items: without one, what comes last may lack half of its fields."""
    whole = write(
        tmp_path / "whole", a_list(as_kubectl(told.pv()), as_kubectl(told.claim())), "yaml"
    ).read_text()
    path = tmp_path / "torn"
    path.write_text(whole[: whole.rindex("  spec:")])
    recording = open_import([path])
    events = list(recording.events)
    assert kinds(events) == ["PersistentVolume"]
    assert not any(isinstance(event.body, ListCompleted) for event in events)
    assert any("it ends within a list, whose last object is left out" in note for note in recording.notes)


def test_a_zips_own_times_are_used_where_they_have_a_zone(tmp_path: Path) -> None:
    """Info-ZIP's extra field; else the archive's time, since the member's has no zone."""
    path = tmp_path / "case.zip"
    with zipfile.ZipFile(path, "w") as archive:
        told_ = zipfile.ZipInfo("a.json")
        told_.extra = struct.pack("<HHBi", 0x5455, 5, 1, START // SECOND)
        archive.writestr(told_, LISTED)
        archive.writestr(zipfile.ZipInfo("b.json", (2026, 1, 1, 0, 0, 0)), LISTED)
    os.utime(path, ns=(START + DAY, START + DAY))
    assert [source.modified_at for source in inputs(path, [])] == [START, START + DAY]


def test_what_is_no_file_in_a_tree_is_passed_over(tmp_path: Path) -> None:
    """A pipe would never end, a link leads round in a circle or out of the tree: none is opened, and the notes count them."""
    tree = tmp_path / "case"
    write(tree / "dump.json", json.loads(LISTED))
    write(tmp_path / "outside.json", a_list(as_kubectl(told.node())))
    os.mkfifo(tree / "pipe")
    (tree / "itself").symlink_to(tree, target_is_directory=True)
    (tree / "circle").symlink_to("circle")
    (tree / "out.json").symlink_to(tmp_path / "outside.json")
    recording = open_import([tree])
    assert kinds(list(recording.events)) == ["PersistentVolume", "PersistentVolumeClaim"]
    assert f"{tree}: 3 symbolic links, which are not followed" in recording.notes
    assert f"{tree}: 1 pipes, sockets or devices, which are not read" in recording.notes


def test_a_pipe_by_itself_is_refused_before_it_is_opened(tmp_path: Path) -> None:
    """Nobody writes into it: whoever opens it waits."""
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path("/dev/zero")):
        with pytest.raises(
            TraceError, match=r"is neither a file nor a directory: write what comes out of it to a file"
        ):
            open_import([path])


def test_a_link_that_leads_round_in_a_circle_is_said(tmp_path: Path) -> None:
    """One line, from the operating system."""
    (tmp_path / "circle").symlink_to("circle")
    with pytest.raises(TraceError, match=r"circle: cannot be imported: Too many levels of symbolic links"):
        open_import([tmp_path / "circle"])


def test_what_cannot_be_read_leaves_the_rest(tmp_path: Path) -> None:
    """A file that fails when it is read, whoever reads it: the others count, the notes say which did not."""
    dump = write(tmp_path / "dump.json", json.loads(LISTED))
    recording = open_import([Path("/proc/self/mem"), dump])
    assert kinds(list(recording.events)) == ["PersistentVolume", "PersistentVolumeClaim"]
    assert "/proc/self/mem: cannot be read: Input/output error" in recording.notes


def test_what_one_may_not_read_is_said() -> None:
    """A directory or a file without permission, in a tree."""
    with tempfile.TemporaryDirectory() as directory:  # not below root's own
        Path(directory).chmod(0o755)
        tree = Path(directory) / "case"
        write(tree / "dump.json", json.loads(LISTED))
        (tree / "shut").mkdir(mode=0)
        (tree / "secret.json").write_text("{}")
        (tree / "secret.json").chmod(0)
        assert open_import([tree / "dump.json"]).events  # what it needs has been loaded by now
        with _nobody_special():
            notes = open_import([tree]).notes
    assert f"{tree / 'shut'}: cannot be read: Permission denied" in notes
    assert f"{tree / 'secret.json'}: cannot be read: Permission denied" in notes


@contextmanager
def _nobody_special() -> Iterator[None]:
    """Nothing is forbidden to root, who is somebody else meanwhile."""
    was = os.geteuid()
    if was == 0:
        os.seteuid(_NOBODY)
    try:
        yield
    finally:
        os.seteuid(was)


def test_a_file_that_grows_is_read_as_it_was(tmp_path: Path) -> None:
    """However often it is opened, it ends where it ended when it was found."""
    path = tmp_path / "a.log"
    path.write_text("first\n")
    (source,) = inputs(path, [])
    with path.open("a") as appended:
        for expected in (b"first\n", b"first\n"):
            appended.write("later\n")
            appended.flush()
            stream = source.open()
            assert stream.read() == expected
            stream.close()


def test_a_file_of_proc_says_no_size_and_is_read(tmp_path: Path) -> None:
    """The mount table of this machine, as it is."""
    (source,) = inputs(Path("/proc/self/mountinfo"), [])
    with source.open() as stream:
        assert b" / " in stream.read()


def test_a_directory_without_anything_is_said(tmp_path: Path) -> None:
    """What was looked at, that it was not understood, and what to do: one line, and the exit code of wrong usage."""
    (tmp_path / "case" / "empty").mkdir(parents=True)
    for directory, because in (
        (tmp_path / "case", "there are no files in it"),
        (tmp_path, "--as says what a file is"),
    ):
        with pytest.raises(TraceError, match="nothing could be read") as caught:
            open_import([directory])
        assert because in str(caught.value)
        assert "\n" not in str(caught.value)
        assert caught.value.exit_code == 2
        (tmp_path / "photo.jpg").write_bytes(b"\xff\xd8\xff\xe0")
        (tmp_path / "notes.txt").write_text("hello\n")
        (tmp_path / "nothing.log").touch()


@pytest.mark.parametrize(
    "name", ["../../etc/cron.d/x", "/etc/cron.d/x", "a\nb\x1b[31m.json", "..\\..\\x", "C:\\x"]
)
@pytest.mark.parametrize("kind", ["tar", "zip"])
def test_names_in_archives_lead_nowhere_and_print_as_one_line(tmp_path: Path, name: str, kind: str) -> None:
    """Nothing is written beside the archive, and no name reaches a terminal's controls."""
    path = tmp_path / "case"
    if kind == "zip":
        with zipfile.ZipFile(path, "w") as packed:
            packed.writestr(name, LISTED)
    else:
        with tarfile.open(path, "w") as archive:
            member = tarfile.TarInfo(name)
            member.size = len(LISTED)
            archive.addfile(member, io.BytesIO(LISTED.encode()))
    recording = open_import([path])
    assert kinds(list(recording.events)) == ["PersistentVolume", "PersistentVolumeClaim"]
    assert [child.name for child in tmp_path.iterdir()] == ["case"]
    assert all(note.isprintable() for note in recording.notes)


def test_links_in_archives_are_not_followed(tmp_path: Path) -> None:
    """A member that is a link to a file of this machine is nothing."""
    write(tmp_path / "outside.json", json.loads(LISTED))
    path = tmp_path / "case.tar"
    with tarfile.open(path, "w") as archive:
        for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE):
            member = tarfile.TarInfo(f"a-{kind!r}")
            member.type, member.linkname = kind, str(tmp_path / "outside.json")
            archive.addfile(member)
    with pytest.raises(TraceError, match="nothing could be read"):
        open_import([path])


def a_bomb(path: Path, kind: str, size: int) -> None:
    """JSON that goes on for `size` bytes, packed to almost nothing."""
    zeros = LISTED.encode() + b" " * size
    if kind == "gzip":
        path.write_bytes(gzip.compress(zeros, 1))
    elif kind == "zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as packed:
            packed.writestr("bomb.json", zeros)
    else:
        with tarfile.open(path, "w:gz", compresslevel=1) as archive:
            member = tarfile.TarInfo("bomb.json")
            member.size = len(zeros)
            archive.addfile(member, io.BytesIO(zeros))


@pytest.mark.parametrize("kind", ["gzip", "zip", "tar"])
def test_what_unpacks_to_far_too_much_is_left(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two hundred times its size, above what anything may: said, with what to do, and what is stated is not even begun."""
    monkeypatch.setattr(archives, "FREE", 1 << 20)
    path = tmp_path / "bomb"
    a_bomb(path, kind, 4 << 20)
    with pytest.raises(TraceError, match=r"unpacks to more than \d+ MiB"):
        open_import([path])
    monkeypatch.setattr(archives, "FREE", 8 << 20)
    assert kinds(events_of(path)) == ["PersistentVolume", "PersistentVolumeClaim"]


def test_an_archive_of_too_many_files_is_read_in_part(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first of them count; the note says that others were left."""
    monkeypatch.setattr(archives, "MAX_FILES", 1)
    path = tmp_path / "case.zip"
    with zipfile.ZipFile(path, "w") as packed:
        packed.writestr("a.json", LISTED)
        packed.writestr("b.json", json.dumps(as_kubectl(told.node())))
    recording = open_import([path])
    assert kinds(list(recording.events)) == ["PersistentVolume", "PersistentVolumeClaim"]
    assert any("more than 1 files; the rest was not looked at" in note for note in recording.notes)


def test_an_encrypted_zip_is_said(tmp_path: Path) -> None:
    """Its flag says so; nobody is asked for a password."""
    path = tmp_path / "case.zip"
    with zipfile.ZipFile(path, "w") as packed:
        packed.writestr("a.json", LISTED)
    raw = bytearray(path.read_bytes())
    for magic, place in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        raw[raw.index(magic) + place] |= 1
    path.write_bytes(raw)
    with pytest.raises(TraceError, match="encrypted"):
        open_import([path])
