"""The process itself: its sockets, its registration with kubelet, its roles, its command line."""

import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from csitrace.csi import csi_pb2, pluginregistration_pb2, pluginregistration_pb2_grpc
from tests.integration.driver.driving import Driver, Volume, driving, need_fuse


def _services(path: Path) -> set[str]:
    with grpc.insecure_channel(f"unix:{path}") as channel:
        stub: Any = reflection_pb2_grpc.ServerReflectionStub(channel)
        [answer] = stub.ServerReflectionInfo(iter([reflection_pb2.ServerReflectionRequest(list_services="")]))
        return {service.name for service in answer.list_services_response.service}


def test_kubelet_finds_the_driver(driver: Driver) -> None:
    """The registration socket answers GetInfo as kubelet wants it, and takes the outcome, good or bad."""
    with grpc.insecure_channel(f"unix:{driver.registration / 'ref.csitrace.dev-reg.sock'}") as channel:
        stub: Any = pluginregistration_pb2_grpc.RegistrationStub(channel)
        info = stub.GetInfo(pluginregistration_pb2.InfoRequest())
        assert (info.type, info.name, info.endpoint) == (
            "CSIPlugin",
            "ref.csitrace.dev",
            str(driver.endpoint),
        )
        assert list(info.supported_versions) == ["1.0.0"]
        for outcome in ({"plugin_registered": True}, {"error": "no such node"}):
            stub.NotifyRegistrationStatus(pluginregistration_pb2.RegistrationStatus(**outcome))
    assert "kubelet refused the registration: no such node" in driver.log.read_text()


def test_sockets_are_for_their_owner_alone_and_tell_what_they_serve(driver: Driver) -> None:
    """Mode 0600; health is SERVING; reflection names the services, faults and feed on their own socket only."""
    sockets = {
        driver.endpoint: {"csi.v1.Identity", "csi.v1.Controller", "csi.v1.Node"},
        driver.feed: {"csitrace.feed.v1.TraceFeed", "csitrace.driver.v1.Faults"},
        driver.registration / "ref.csitrace.dev-reg.sock": {"pluginregistration.Registration"},
    }
    for path, services in sockets.items():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert (
            _services(path) - {"grpc.health.v1.Health", "grpc.reflection.v1alpha.ServerReflection"}
            == services
        )
        with grpc.insecure_channel(f"unix:{path}") as channel:
            stub: Any = health_pb2_grpc.HealthStub(channel)
            for service in ("", *services):
                assert stub.Check(health_pb2.HealthCheckRequest(service=service)).status == 1


def test_records_and_bytes_are_for_the_owner_alone(driver: Driver) -> None:
    """Records are 0600 and the directories above the volumes' bytes 0700, whatever the umask; a volume's root is 0755."""
    volume = Volume(driver, "private").up()
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in driver.state.iterdir()}
    assert set(modes.values()) == {0o700}
    for record in [
        *driver.state.glob("volumes/*"),
        *driver.state.glob("on-node/*/*"),
        *driver.state.glob("logs/*"),
    ]:
        assert stat.S_IMODE(record.stat().st_mode) == 0o600
    assert stat.S_IMODE(volume.target.stat().st_mode) == 0o755


def test_controller_and_node_run_apart_on_one_state_directory() -> None:
    """Two processes, one with each role: each serves its own, and together they carry a volume through its life."""
    need_fuse()
    with driving("--node") as node, driving("--controller", f"--state-dir={node.state}") as controller:
        assert "csi.v1.Controller" not in _services(node.endpoint)
        assert "csi.v1.Node" not in _services(controller.endpoint)
        assert not (controller.registration / "ref.csitrace.dev-reg.sock").exists()
        plugin = node.identity.GetPluginCapabilities(csi_pb2.GetPluginCapabilitiesRequest())
        assert csi_pb2.PluginCapability.Service.CONTROLLER_SERVICE not in {
            item.service.type for item in plugin.capabilities if item.HasField("service")
        }
        node.controller = controller.controller
        volume = Volume(node, "apart").up()
        (volume.target / "file").write_text("x")
        volume.down()
        assert node.mounted() == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "required: --endpoint, --node-id, --state-dir"),
        (["--endpoint=tcp://1:2"], "unix socket"),
        (["--endpoint=unix://relative"], "absolute path"),
        (["--feed=0.0.0.0:1"], "loopback"),
        (["--driver-name=no_good"], "domain name"),
        (["--without=flying"], "choose from"),
        (["--topology=zone"], "KEY=VALUE"),
        (["--max-volumes-per-node=-1"], "whole number"),
        (["--state-dir=/" + "x" * 120], "shorter --state-dir"),
        (["--state-dir=/proc/nowhere"], "/proc/nowhere"),
    ],
)
def test_a_wrong_command_line_is_one_line(tmp_path: Path, arguments: list[str], words: str) -> None:
    """Exit code 2 (or 1 where the system refuses), one line that says what is wrong, no traceback."""
    good = (
        [f"--endpoint=unix://{tmp_path}/csi.sock", "--node-id=n", f"--state-dir={tmp_path}/s"]
        if arguments
        else []
    )
    finished = subprocess.run(
        [sys.executable, "-m", "driver_ref", *good, *arguments], capture_output=True, text=True, check=False
    )
    assert finished.returncode in (1, 2)
    assert words in finished.stderr
    assert len(finished.stderr.strip().splitlines()) == 1


def test_a_damaged_record_stops_the_driver_with_its_name(tmp_path: Path) -> None:
    """A record that is no record is not guessed at: the driver ends and names the file."""
    record = tmp_path / "s" / "volumes" / "ref-1.json"
    record.parent.mkdir(parents=True)
    record.write_text("{")
    finished = subprocess.run(
        [
            sys.executable,
            "-m",
            "driver_ref",
            f"--endpoint={tmp_path}/c.sock",
            "--node-id=n",
            f"--state-dir={tmp_path}/s",
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.returncode == 2
    assert f"{record}: not a record of this driver" in finished.stderr
    assert "Traceback" not in finished.stderr
