"""The transcribed interfaces say on the wire what the specifications say."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from google.protobuf.descriptor import Descriptor

from csitrace.csi import csi_pb2, pluginregistration_pb2
from csitrace.model.rpc import RPCS

ROOT = Path(__file__).parents[3]


def _messages(parents: list[Descriptor]) -> Iterator[Descriptor]:
    for message in parents:
        yield message
        yield from _messages(list(message.nested_types))


def test_every_field_of_secrets_is_marked_secret_and_no_other() -> None:
    """csi_secret (extension 1059) is what keeps secrets out of traces: it is on every `secrets` map, in every request."""
    marked, named = set(), set()
    for message in _messages(list(csi_pb2.DESCRIPTOR.message_types_by_name.values())):
        for field in message.fields:
            if field.GetOptions().Extensions[csi_pb2.csi_secret]:
                marked.add(field.full_name)
            if field.name == "secrets":
                named.add(field.full_name)
    assert marked == named
    assert len(marked) > 10
    assert csi_pb2.csi_secret.number == 1059


def test_the_catalogue_of_calls_is_the_services_of_the_interface() -> None:
    """model.rpc knows every call that csi.proto has (but GetSnapshot, an alpha query), with its service."""
    services = csi_pb2.DESCRIPTOR.services_by_name
    described = {
        f"/{method.containing_service.full_name}/{method.name}"
        for s in services.values()
        for method in s.methods
    }
    assert described - {rpc.full_method for rpc in RPCS} <= {"/csi.v1.Controller/GetSnapshot"}
    assert {rpc.full_method for rpc in RPCS} <= described


@pytest.mark.parametrize(
    ("message", "encoded"),
    [
        (csi_pb2.CreateVolumeRequest(name="a", secrets={"k": "v"}), b"\x0a\x01a\x2a\x06\x0a\x01k\x12\x01v"),
        (
            csi_pb2.VolumeCapability(
                mount=csi_pb2.VolumeCapability.MountVolume(volume_mount_group="7"),
                access_mode=csi_pb2.VolumeCapability.AccessMode(mode=6),  # type: ignore[arg-type]  # by number
            ),
            b"\x12\x03\x1a\x017\x1a\x02\x08\x06",
        ),
        (csi_pb2.NodeGetInfoResponse(node_id="n", max_volumes_per_node=3), b"\x0a\x01n\x10\x03"),
        (
            pluginregistration_pb2.PluginInfo(
                type="CSIPlugin", name="d", endpoint="/s", supported_versions=["1"]
            ),
            b"\x0a\x09CSIPlugin\x12\x01d\x1a\x02/s\x22\x011",
        ),
        (pluginregistration_pb2.RegistrationStatus(plugin_registered=True, error="e"), b"\x08\x01\x12\x01e"),
    ],
)
def test_messages_have_the_bytes_of_the_specification(message: object, encoded: bytes) -> None:
    """Field numbers and types, byte by byte."""
    assert message.SerializeToString(deterministic=True) == encoded  # type: ignore[attr-defined]  # any message


def test_generated_code_is_what_its_proto_files_generate() -> None:
    """`tools/generate_protos.py --check` finds nothing to do."""
    checked = subprocess.run(
        [sys.executable, str(ROOT / "tools" / "generate_protos.py"), "--check"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (checked.returncode, checked.stderr) == (0, "")
