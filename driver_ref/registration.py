"""Registration with kubelet: the plugin registration API v1, which node-driver-registrar otherwise speaks for a driver.

Kubelet watches its plugins_registry directory. When a socket appears there it asks who it is, dials the CSI socket named in the
answer, calls NodeGetInfo, and says how that went.
"""

# ruff: noqa: N802 - the methods have the names that the .proto gives them

import logging
from pathlib import Path
from typing import Any

from csitrace.csi import pluginregistration_pb2 as wire
from csitrace.csi import pluginregistration_pb2_grpc

_LOG = logging.getLogger(__name__)

SUPPORTED_VERSIONS = ("1.0.0",)
"""Of the CSI socket. Kubelet takes any 1.x.y and goes by capabilities from there."""


def socket_path(directory: Path, driver_name: str) -> Path:
    """Where the registration socket goes, named as node-driver-registrar names it."""
    return directory / f"{driver_name}-reg.sock"


class Registration(pluginregistration_pb2_grpc.RegistrationServicer):
    """Answers kubelet. A failed registration is logged; kubelet tries again by itself."""

    def __init__(self, driver_name: str, endpoint: Path) -> None:
        self._driver_name = driver_name
        self._endpoint = endpoint

    async def GetInfo(self, request: wire.InfoRequest, context: Any) -> wire.PluginInfo:
        return wire.PluginInfo(
            type="CSIPlugin",
            name=self._driver_name,
            endpoint=str(self._endpoint),
            supported_versions=SUPPORTED_VERSIONS,
        )

    async def NotifyRegistrationStatus(
        self, request: wire.RegistrationStatus, context: Any
    ) -> wire.RegistrationStatusResponse:
        if request.plugin_registered:
            _LOG.info("registered with kubelet")
        else:
            _LOG.error("kubelet refused the registration: %s", request.error)
        return wire.RegistrationStatusResponse()
