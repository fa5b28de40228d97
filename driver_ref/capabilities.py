"""What the driver says it can do, as one table; any row can be switched off to take on another driver's shape.

A row names the capabilities of the three services that stand or fall together, and the RPCs that answer UNIMPLEMENTED
without it.
"""

from dataclasses import dataclass

from csitrace.csi import csi_pb2
from csitrace.errors import UsageError

_Service = csi_pb2.PluginCapability.Service
_Expansion = csi_pb2.PluginCapability.VolumeExpansion
_Controller = csi_pb2.ControllerServiceCapability.RPC
_Node = csi_pb2.NodeServiceCapability.RPC


@dataclass(frozen=True, slots=True)
class Feature:
    """One row: `name` as in `--without`, the capabilities it stands for, the RPCs that need it."""

    name: str
    service: "tuple[_Service.Type.ValueType, ...]" = ()
    expansion: "tuple[_Expansion.Type.ValueType, ...]" = ()
    controller: "tuple[_Controller.Type.ValueType, ...]" = ()
    node: "tuple[_Node.Type.ValueType, ...]" = ()
    methods: tuple[str, ...] = ()


FEATURES = (
    Feature(
        "create",
        controller=(_Controller.CREATE_DELETE_VOLUME,),
        methods=("CreateVolume", "DeleteVolume"),
    ),
    Feature(
        "publish",
        controller=(_Controller.PUBLISH_UNPUBLISH_VOLUME, _Controller.PUBLISH_READONLY),
        methods=("ControllerPublishVolume", "ControllerUnpublishVolume"),
    ),
    Feature(
        "list",
        controller=(_Controller.LIST_VOLUMES, _Controller.LIST_VOLUMES_PUBLISHED_NODES),
        methods=("ListVolumes",),
    ),
    Feature("get", controller=(_Controller.GET_VOLUME,), methods=("ControllerGetVolume",)),
    Feature("capacity", controller=(_Controller.GET_CAPACITY,), methods=("GetCapacity",)),
    Feature("stage", node=(_Node.STAGE_UNSTAGE_VOLUME,), methods=("NodeStageVolume", "NodeUnstageVolume")),
    Feature("stats", node=(_Node.GET_VOLUME_STATS,), methods=("NodeGetVolumeStats",)),
    Feature("condition", controller=(_Controller.VOLUME_CONDITION,), node=(_Node.VOLUME_CONDITION,)),
    Feature(
        "health",
        controller=(_Controller.GET_VOLUME_HEALTH, _Controller.LIST_VOLUME_HEALTH),
        node=(_Node.GET_VOLUME_HEALTH, _Node.GET_STORAGE_HEALTH),
        methods=(
            "ControllerListVolumeHealth",
            "ControllerGetVolumeHealth",
            "NodeGetVolumeHealth",
            "NodeGetStorageHealth",
        ),
    ),
    Feature(
        "expand",
        expansion=(_Expansion.ONLINE,),
        controller=(_Controller.EXPAND_VOLUME,),
        node=(_Node.EXPAND_VOLUME,),
        methods=("ControllerExpandVolume", "NodeExpandVolume"),
    ),
    Feature(
        "single-node-multi-writer",
        controller=(_Controller.SINGLE_NODE_MULTI_WRITER,),
        node=(_Node.SINGLE_NODE_MULTI_WRITER,),
    ),
    Feature("topology", service=(_Service.VOLUME_ACCESSIBILITY_CONSTRAINTS,)),
)

NAMES = tuple(feature.name for feature in FEATURES)


class Capabilities:
    """The table without the rows that were switched off, for a process with one or both of the roles."""

    def __init__(
        self, without: frozenset[str] = frozenset(), controller: bool = True, node: bool = True
    ) -> None:
        """Raises UsageError for a name that is no row."""
        unknown = sorted(without - set(NAMES))
        if unknown:
            raise UsageError(
                f"--without {','.join(unknown)}: not a capability; choose from {', '.join(NAMES)}"
            )
        self.has_controller = controller
        self.has_node = node
        self._features = tuple(feature for feature in FEATURES if feature.name not in without)
        self._refused = {
            method: feature.name
            for feature in FEATURES
            if feature.name in without
            for method in feature.methods
        }

    def has(self, name: str) -> bool:
        """Whether the row called `name` is on."""
        return any(feature.name == name for feature in self._features)

    def refused(self, method: str) -> str | None:
        """The row that is off and without which `method` is not implemented; None when it is implemented."""
        return self._refused.get(method)

    def plugin(self) -> list[csi_pb2.PluginCapability]:
        """The answer to GetPluginCapabilities."""
        services = [csi_pb2.PluginCapability.Service.CONTROLLER_SERVICE] if self.has_controller else []
        services += [value for feature in self._features for value in feature.service]
        expansions = [value for feature in self._features for value in feature.expansion]
        return [
            *(csi_pb2.PluginCapability(service=_Service(type=value)) for value in services),
            *(csi_pb2.PluginCapability(volume_expansion=_Expansion(type=value)) for value in expansions),
        ]

    def controller(self) -> list[csi_pb2.ControllerServiceCapability]:
        """The answer to ControllerGetCapabilities."""
        return [
            csi_pb2.ControllerServiceCapability(rpc=_Controller(type=value))
            for feature in self._features
            for value in feature.controller
        ]

    def node(self) -> list[csi_pb2.NodeServiceCapability]:
        """The answer to NodeGetCapabilities."""
        return [
            csi_pb2.NodeServiceCapability(rpc=_Node(type=value))
            for feature in self._features
            for value in feature.node
        ]
