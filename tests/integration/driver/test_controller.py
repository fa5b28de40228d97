"""The Controller service over its socket."""

from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest

from csitrace.csi import csi_pb2
from tests.integration.driver.driving import (
    MIB,
    Driver,
    Reader,
    Volume,
    capability,
    driving,
    need_fuse,
    refused,
)

Code = grpc.StatusCode


def _created(driver: Driver, count: int) -> list[str]:
    with ThreadPoolExecutor(8) as pool:
        volumes = [Volume(driver, f"volume-{number}") for number in range(count)]
        return sorted(
            volume.volume_id for volume in pool.map(lambda volume: (volume.create(), volume)[1], volumes)
        )


def _list(driver: Driver, entries: int = 0, token: str = "") -> csi_pb2.ListVolumesResponse:
    request = csi_pb2.ListVolumesRequest(max_entries=entries, starting_token=token)
    response: csi_pb2.ListVolumesResponse = driver.controller.ListVolumes(request)
    return response


def _ids(response: csi_pb2.ListVolumesResponse) -> list[str]:
    return [entry.volume.volume_id for entry in response.entries]


def test_pages_stay_right_while_volumes_come_and_go(driver: Driver) -> None:
    """Deleting a whole page, and creating more, neither spoils its token nor shows any volume twice or a living one never."""
    ids = _created(driver, 12)
    first = _list(driver, 5)
    assert _ids(first) == ids[:5]
    for volume_id in ids[:5]:
        driver.controller.DeleteVolume(csi_pb2.DeleteVolumeRequest(volume_id=volume_id))
    Volume(driver, "newcomer").create()
    rest, token = [], first.next_token
    while token:
        page = _list(driver, 3, token)
        rest += _ids(page)
        token = page.next_token
    assert set(ids[5:]) <= set(rest)
    assert len(rest) == len(set(rest))
    assert not set(rest) & set(ids[:5])


def test_a_foreign_token_is_aborted_and_a_negative_page_is_invalid(driver: Driver) -> None:
    """ABORTED tells the caller to list from the beginning."""
    with refused(Code.ABORTED, "starting_token"):
        _list(driver, token="../../etc/passwd")
    with refused(Code.INVALID_ARGUMENT, "max_entries"):
        _list(driver, entries=-1)


def test_create_is_idempotent_and_refuses_the_same_name_for_another_volume(driver: Driver) -> None:
    """Same request: same volume. Another size or other parameters: ALREADY_EXISTS."""
    first = Volume(driver, "twice").create(64 * MIB)
    assert Volume(driver, "twice").create(64 * MIB) == first
    assert Volume(driver, "twice").create(32 * MIB) == first, "the existing volume is large enough"
    with refused(Code.ALREADY_EXISTS, "capacity_range"):
        Volume(driver, "twice").create(65 * MIB)
    with refused(Code.ALREADY_EXISTS, "parameters"):
        Volume(driver, "twice").create(64 * MIB, fault__NodeStageVolume="hang")


@pytest.mark.parametrize(
    ("change", "code", "words"),
    [
        ({"volume_content_source": {"volume": {"volume_id": "x"}}}, Code.INVALID_ARGUMENT, "clones"),
        ({"volume_content_source": {"snapshot": {"snapshot_id": "x"}}}, Code.INVALID_ARGUMENT, "clones"),
        ({"parameters": {"type": "fast"}}, Code.INVALID_ARGUMENT, "'type' is not known"),
        ({"parameters": {"fault.NodeStageVolume": "NOPE"}}, Code.INVALID_ARGUMENT, "cannot read 'NOPE'"),
        ({"mutable_parameters": {"iops": "1"}}, Code.INVALID_ARGUMENT, "'iops' is not known"),
        ({"capacity_range": {"required_bytes": 1 << 50}}, Code.OUT_OF_RANGE, "bytes"),
        (
            {"capacity_range": {"required_bytes": 2, "limit_bytes": 1}},
            Code.INVALID_ARGUMENT,
            "below required_bytes",
        ),
        ({"capacity_range": {"required_bytes": -1}}, Code.INVALID_ARGUMENT, "negative"),
        ({"name": "n" * 129}, Code.INVALID_ARGUMENT, "128 bytes"),
        (
            {"accessibility_requirements": {"requisite": [{"segments": {"zone": "elsewhere"}}]}},
            Code.RESOURCE_EXHAUSTED,
            "no node",
        ),
    ],
)
def test_create_says_what_it_cannot_do(
    driver: Driver, change: dict[str, object], code: grpc.StatusCode, words: str
) -> None:
    """Each thing that is not supported is refused with the specification's code, and nothing is made."""
    request = {"name": "wrong", "volume_capabilities": [capability()]} | change
    with refused(code, words):
        driver.controller.CreateVolume(csi_pb2.CreateVolumeRequest(**request))  # type: ignore[arg-type]  # a table of fields
    assert _ids(_list(driver)) == []


def test_block_volumes_are_refused_and_not_confirmed(driver: Driver) -> None:
    """CreateVolume refuses a block volume; ValidateVolumeCapabilities answers without `confirmed` and says why."""
    block = csi_pb2.VolumeCapability(
        block=csi_pb2.VolumeCapability.BlockVolume(), access_mode=capability().access_mode
    )
    with refused(Code.INVALID_ARGUMENT, "block"):
        driver.controller.CreateVolume(csi_pb2.CreateVolumeRequest(name="block", volume_capabilities=[block]))
    volume = Volume(driver, "plain")
    volume.create()
    for asked, confirmed in ((block, False), (capability(), True)):
        answer = driver.controller.ValidateVolumeCapabilities(
            csi_pb2.ValidateVolumeCapabilitiesRequest(volume_id=volume.volume_id, volume_capabilities=[asked])
        )
        assert answer.HasField("confirmed") is confirmed
        assert ("block" in answer.message) is not confirmed


def test_a_single_node_volume_goes_to_one_node(driver: Driver) -> None:
    """A second node is refused and told where the volume is; unknown nodes are NOT_FOUND."""
    with driving(f"--state-dir={driver.state}", "--node-id=node-2", *_anywhere(driver)) as other:
        other.node_id = "node-2"
        volume = Volume(driver, "single")
        volume.create()
        volume.attach()
        volume.attach()
        with refused(Code.ALREADY_EXISTS, "SINGLE_NODE_WRITER"):
            volume.attach(readonly=True)
        elsewhere = csi_pb2.ControllerPublishVolumeRequest(
            volume_id=volume.volume_id, node_id="node-2", volume_capability=capability()
        )
        with refused(Code.FAILED_PRECONDITION, "node-1"):
            driver.controller.ControllerPublishVolume(elsewhere)
        elsewhere.node_id = "node-3"
        with refused(Code.NOT_FOUND, "node-3"):
            driver.controller.ControllerPublishVolume(elsewhere)


def _anywhere(driver: Driver) -> tuple[str, ...]:
    return ("--topology=zone=a",)


def test_a_node_takes_its_limit_of_volumes_and_no_more() -> None:
    """RESOURCE_EXHAUSTED at the limit that NodeGetInfo told; room again after a detach."""
    need_fuse()
    with driving("--max-volumes-per-node=2") as driver:
        assert driver.node.NodeGetInfo(csi_pb2.NodeGetInfoRequest()).max_volumes_per_node == 2
        volumes = [Volume(driver, name) for name in ("one", "two", "three")]
        for volume in volumes:
            volume.create()
        volumes[0].attach()
        volumes[1].attach()
        with refused(Code.RESOURCE_EXHAUSTED, "2 of 2"):
            volumes[2].attach()
        volumes[0].detach()
        volumes[2].attach()


def test_a_volume_in_use_is_not_deleted_and_one_that_is_gone_is(driver: Driver) -> None:
    """Attached: FAILED_PRECONDITION. Deleted before: OK again. Its bytes go with it."""
    volume = Volume(driver, "used")
    volume.create()
    volume.attach()
    with refused(Code.FAILED_PRECONDITION, "node-1"):
        volume.delete()
    volume.detach()
    assert list(driver.state.glob("data/*")) != []
    volume.delete()
    volume.delete()
    assert list(driver.state.glob("data/*")) == []


def test_a_volume_tells_where_it_is_and_how_it_is(driver: Driver) -> None:
    """ControllerGetVolume and ListVolumes name the nodes; a lost backing directory is abnormal in both dialects."""
    volume = Volume(driver, "told")
    volume.create()
    volume.attach()
    request = csi_pb2.ControllerGetVolumeRequest(volume_id=volume.volume_id)
    status = driver.controller.ControllerGetVolume(request).status
    assert (list(status.published_node_ids), status.volume_condition.abnormal) == (["node-1"], False)
    assert (
        driver.controller.ControllerListVolumeHealth(csi_pb2.ControllerListVolumeHealthRequest()).entries
        == []
    )
    (driver.state / "data" / volume.volume_id).rmdir()
    assert driver.controller.ControllerGetVolume(request).status.volume_condition.abnormal
    entry = _list(driver).entries[0].status
    assert (list(entry.published_node_ids), entry.volume_condition.abnormal) == (["node-1"], True)
    [sick] = driver.controller.ControllerListVolumeHealth(csi_pb2.ControllerListVolumeHealthRequest()).entries
    assert (sick.volume_id, sick.health_statuses[0].reason) == (volume.volume_id, "BackingDirectoryMissing")


def test_volumes_lie_where_they_were_asked_to(driver: Driver) -> None:
    """The volume's topology is the node's, is told, and is what GetCapacity goes by."""
    info = driver.node.NodeGetInfo(csi_pb2.NodeGetInfoRequest())
    segments = dict(info.accessible_topology.segments)
    assert segments == {"topology.ref.csitrace.dev/node": "node-1"}
    assert dict(Volume(driver, "placed").create().accessible_topology[0].segments) == segments
    here, elsewhere = csi_pb2.Topology(segments=segments), csi_pb2.Topology(segments={"zone": "elsewhere"})
    available = [
        driver.controller.GetCapacity(
            csi_pb2.GetCapacityRequest(accessible_topology=place)
        ).available_capacity
        for place in (here, elsewhere)
    ]
    assert available[0] > 0
    assert available[1] == 0


def test_a_reader_mode_is_published_read_only(driver: Driver) -> None:
    """SINGLE_NODE_READER_ONLY needs no readonly flag to be read-only."""
    volume = Volume(driver, "reader")
    volume.capability = capability(Reader)
    volume.up()
    mount = volume.mount_at(volume.target)
    assert mount is not None
    assert mount.read_only
    volume.down()


def test_capabilities_that_are_off_are_neither_claimed_nor_implemented() -> None:
    """`--without publish` makes a driver that is not attached: no capability, UNIMPLEMENTED, and staging goes without."""
    need_fuse()
    with driving("--without=publish,expand") as driver:
        claimed = driver.controller.ControllerGetCapabilities(
            csi_pb2.ControllerGetCapabilitiesRequest()
        ).capabilities
        kinds = csi_pb2.ControllerServiceCapability.RPC
        assert not {kinds.PUBLISH_UNPUBLISH_VOLUME, kinds.EXPAND_VOLUME} & {item.rpc.type for item in claimed}
        volume = Volume(driver, "detached")
        volume.create()
        with refused(Code.UNIMPLEMENTED, "publish"):
            volume.attach()
        volume.stage()
        volume.publish()
        volume.unpublish()
        volume.unstage()
        volume.delete()
