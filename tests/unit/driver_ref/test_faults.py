"""Faults: their grammar, and which one strikes."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from csitrace.errors import UsageError
from csitrace.model.rpc import RPCS, Code
from driver_ref.faults import Fault, Faults, from_parameters, parse
from driver_ref.fs.channel import ERRNO_NUMBERS, FAULTABLE_OPS

_counts = st.none() | st.integers(1, 1000)
_delays = st.integers(0, 600_000).map(lambda milliseconds: milliseconds * 1_000_000)

_rpc_faults = st.builds(
    Fault,
    target=st.sampled_from([rpc.method for rpc in RPCS]),
    code=st.sampled_from([code for code in Code if code is not Code.OK]),
    delay_ns=_delays,
    kill=st.booleans(),
    after=st.booleans(),
    count=_counts,
)
_fuse_faults = st.builds(
    Fault,
    target=st.sampled_from(("*", *FAULTABLE_OPS)).map(lambda operation: f"fuse.{operation}"),
    errno=st.sampled_from(sorted(ERRNO_NUMBERS)),
    delay_ns=_delays,
    count=_counts,
)


@given(_rpc_faults | _fuse_faults)
def test_a_fault_written_down_reads_back_the_same(fault: Fault) -> None:
    """`effect` is the grammar that `parse` reads, for every fault."""
    assert parse(fault.target, fault.effect) == fault


@given(st.text() | st.sampled_from(["NodeStageVolume", "fuse.READ"]), st.text())
def test_any_text_is_a_fault_or_a_usage_error(target: str, effect: str) -> None:
    """Nothing else is raised, and the error is one printable line; what is accepted reads back the same."""
    told = "printable"
    try:
        fault = parse(target, effect)
    except UsageError as error:
        told = str(error)
    else:
        assert parse(target, fault.effect) == fault
    assert told.isprintable()


def test_the_words_may_come_in_any_order() -> None:
    """The example of the documentation, and its words shuffled."""
    expected = Fault(
        target="NodeStageVolume", code=Code.UNAVAILABLE, count=3, delay_ns=2_000_000_000, after=True
    )
    assert parse("NodeStageVolume", "UNAVAILABLE:count=3:delay=2s:after") == expected
    assert parse("NodeStageVolume", "after : delay=2000ms : count=3 : UNAVAILABLE") == expected


def test_only_parameters_with_the_prefix_are_faults() -> None:
    """Other StorageClass parameters are left alone; the volume is the parameters' own."""
    parameters = {
        "fault.DeleteVolume": "ABORTED",
        "fault.fuse.READ": "EIO",
        "csi.storage.k8s.io/pvc/name": "x",
    }
    assert from_parameters(parameters, "v") == [
        Fault(target="DeleteVolume", volume_id="v", code=Code.ABORTED),
        Fault(target="fuse.READ", volume_id="v", errno="EIO"),
    ]


def test_a_volumes_own_fault_goes_before_one_for_all() -> None:
    """While it lasts; then the common one strikes. Other calls and volumes are spared by the volume's own."""
    faults = Faults()
    faults.arm(parse("NodeStageVolume", "INTERNAL"))
    faults.arm(parse("NodeStageVolume", "ABORTED:count=2", "v"))
    struck = [faults.take("NodeStageVolume", volume_id) for volume_id in ("v", "w", "v", "v")]
    assert [armed.fault.code for armed in struck if armed] == [
        Code.ABORTED,
        Code.INTERNAL,
        Code.ABORTED,
        Code.INTERNAL,
    ]
    assert faults.take("NodeUnstageVolume", "v") is None


def test_parameters_are_armed_once_until_the_volume_is_gone() -> None:
    """A count that is used up stays so, however often the same parameters come; a new volume begins anew."""
    faults = Faults()
    for _ in range(3):
        faults.arm_parameters("v", {"fault.CreateVolume": "INTERNAL:count=1"})
        faults.take("CreateVolume", "v")
    assert faults.take("CreateVolume", "v") is None
    faults.forget("v")
    faults.arm_parameters("v", {"fault.CreateVolume": "INTERNAL:count=1"})
    assert faults.take("CreateVolume", "v") is not None


def test_a_bad_fault_arms_nothing() -> None:
    """Of several in one StorageClass, none is armed when one cannot be read, and the next call is told again."""
    faults = Faults()
    parameters = {"fault.CreateVolume": "INTERNAL", "fault.DeleteVolume": "NOPE"}
    for _ in range(2):
        with pytest.raises(UsageError, match="DeleteVolume"):
            faults.arm_parameters("v", parameters)
    assert list(faults) == []


async def test_clearing_lets_go_what_hangs_even_when_its_count_is_used_up() -> None:
    """The last strike of a counted hang is no longer armed, but still released by clear."""
    faults = Faults()
    faults.arm(parse("NodeStageVolume", "hang:count=1", "v"))
    armed = faults.take("NodeStageVolume", "v")
    assert armed is not None
    assert list(faults) == []
    hanging = asyncio.create_task(faults.hang(armed))
    await asyncio.sleep(0)
    assert not hanging.done()
    assert faults.clear(volume_id="v") == 1
    await hanging


def test_fuse_faults_of_a_volume_hide_the_common_ones_they_replace() -> None:
    """What a FUSE process is told: its volume's own faults, and the common ones for other operations."""
    faults = Faults()
    faults.arm(parse("fuse.READ", "EIO"))
    faults.arm(parse("fuse.WRITE", "EIO"))
    faults.arm(parse("fuse.READ", "ENOSPC", "v"))
    faults.arm(parse("NodeStageVolume", "INTERNAL", "v"))
    assert {(fault.operation, fault.errno) for fault in faults.of_fuse("v")} == {
        ("READ", "ENOSPC"),
        ("WRITE", "EIO"),
    }
    assert {(fault.operation, fault.errno) for fault in faults.of_fuse("w")} == {
        ("READ", "EIO"),
        ("WRITE", "EIO"),
    }
