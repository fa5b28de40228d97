"""Records on disk, and what follows from them."""

from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from csitrace.errors import UsageError
from driver_ref.volumes import (
    Attachment,
    NodeRecord,
    Phase,
    Records,
    StateDirectory,
    Target,
    VolumeRecord,
    is_volume_id,
    phase,
    volume_id_of,
)

VOLUME = VolumeRecord(volume_id="v", name="n", capacity_bytes=1, created_at=0)
_text = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40)


@given(key=_text, path=_text, mode=_text)
def test_any_record_under_any_key_reads_back_the_same(
    tmp_path_factory: pytest.TempPathFactory, key: str, path: str, mode: str
) -> None:
    """Also for keys that are no file names, such as `..` or one with slashes; nothing is written outside the directory."""
    directory = tmp_path_factory.mktemp("records")
    records = Records(directory / "inner", NodeRecord)
    record = NodeRecord(volume_id=key, staging_path=path, targets={path: Target(mode=mode, readonly=True)})
    records.save(key, record)
    assert records.load(key) == record
    assert (records.ids(), list(records.all())) == ([key], [record])
    assert [entry.name for entry in directory.iterdir()] == ["inner"]
    records.remove(key)
    records.remove(key)
    assert records.load(key) is None


def test_a_writer_killed_half_way_leaves_the_old_record(tmp_path: Path) -> None:
    """A temporary file is no record, and is swept away; the record before it holds."""
    records = Records(tmp_path, VolumeRecord)
    records.save("v", VOLUME)
    (tmp_path / "v.tmp").write_bytes(b'{"volume_id": "v", "na')
    assert list(records.all()) == [VOLUME]
    records.sweep()
    assert [path.name for path in tmp_path.iterdir()] == ["v.json"]


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"volume_id": 1}', b"\xff"])
def test_a_file_that_is_no_record_is_named(tmp_path: Path, content: bytes) -> None:
    """Not skipped, not guessed at: UsageError with the path."""
    (tmp_path / "v.json").write_bytes(content)
    with pytest.raises(UsageError, match=f"{tmp_path}/v.json"):
        Records(tmp_path, VolumeRecord).load("v")


@given(_text)
def test_the_id_of_a_name_is_an_id_and_nothing_else_is(name: str) -> None:
    """Derived ids are recognised; so a list token that is none is refused."""
    assert is_volume_id(volume_id_of(name))
    assert not is_volume_id(volume_id_of(name)[:-1])
    assert not is_volume_id(name)


@pytest.mark.parametrize(
    ("attached", "staging", "targets", "expected"),
    [
        (False, "", {}, Phase.CREATED),
        (True, "", {}, Phase.NODE_READY),
        (True, "/s", {}, Phase.VOL_READY),
        (True, "/s", {"/t": Target(mode="m")}, Phase.PUBLISHED),
        (False, "/s", {}, Phase.VOL_READY),
        (False, "/s", {"/t": Target(mode="m")}, Phase.PUBLISHED),
    ],
)
def test_the_phase_follows_from_both_records(
    attached: bool, staging: str, targets: dict[str, Target], expected: Phase
) -> None:
    """The CSI specification's volume lifecycle; what is on the node outranks what the Controller says."""
    attachments = {"node": Attachment(mode="m")} if attached else {}
    volume = msgspec.structs.replace(VOLUME, attachments=attachments)
    record = NodeRecord(volume_id="v", staging_path=staging, targets=targets) if staging or targets else None
    assert phase(volume, "node", record) is expected
    assert phase(volume, "elsewhere", None) is Phase.CREATED


def test_a_volume_that_is_being_deleted_is_gone_for_everybody_else(tmp_path: Path) -> None:
    """The record is there until the work is done, but `volume` does not give it out."""
    state = StateDirectory(tmp_path)
    state.volumes.save("v", msgspec.structs.replace(VOLUME, deleting=True))
    assert state.volume("v") is None
    state.volumes.save("v", VOLUME)
    assert state.volume("v") == VOLUME
