"""What each volume of a pod is: its claim, its PV, its driver; and which of them are no affair of CSI.

kubelet 1.34, pkg/kubelet/volumemanager/populator and pkg/volume/csi.
"""

import hashlib
from dataclasses import dataclass

from csitrace.lab import objects
from csitrace.lab.apiserver.resources import CSI_DRIVERS, PERSISTENT_VOLUME_CLAIMS, PERSISTENT_VOLUMES
from csitrace.lab.program import Program
from csitrace.lab.status import Object

_INLINE_MODE = ("ReadWriteOnce",)
"""What an inline volume is asked for: a writer on one node."""


class NotYetError(Exception):
    """A condition that kubelet waits for without saying so."""


@dataclass(frozen=True, slots=True)
class PodVolume:
    """One CSI volume as one pod uses it. `spec_name`: in the pod; `volume_name`: the PV's, or `spec_name` when inline;
    `claim_name`: empty when inline."""

    pod_uid: str
    spec_name: str
    volume_name: str
    driver: str
    volume_handle: str
    access_modes: tuple[str, ...]
    attributes: tuple[tuple[str, str], ...]
    claim_name: str = ""
    read_only: bool = False

    @property
    def is_inline(self) -> bool:
        return not self.claim_name

    @property
    def unique_name(self) -> str:
        return objects.unique_volume_name(self.driver, self.volume_handle)


class VolumeSources:
    """Looks up what pods ask for."""

    def __init__(self, program: Program) -> None:
        self._client = program.client
        self._drivers = program.informer(CSI_DRIVERS)

    async def find(self, pod: Object, volume: Object) -> PodVolume | None:
        """One entry of a pod's volumes; None for what CSI has no part in. NotYetError, StatusError: not to be had now."""
        if source := volume.get("csi"):
            return _inline(pod, volume["name"], source)
        if source := volume.get("persistentVolumeClaim"):
            return await self._claimed(pod, volume, source["claimName"], bool(source.get("readOnly")))
        if volume.get("ephemeral"):
            return await self._claimed(pod, volume, objects.ephemeral_claim_name(pod, volume), False)
        return None

    async def _claimed(
        self, pod: Object, volume: Object, claim_name: str, read_only: bool
    ) -> PodVolume | None:
        claim = await self._client.get(PERSISTENT_VOLUME_CLAIMS, claim_name, pod["metadata"]["namespace"])
        if not objects.is_bound(claim) or (volume.get("ephemeral") and not objects.is_owned(claim, pod)):
            raise NotYetError
        persistent = await self._client.get(PERSISTENT_VOLUMES, claim["spec"]["volumeName"])
        source = persistent["spec"].get("csi")
        if source is None:
            return None
        return PodVolume(
            pod_uid=pod["metadata"]["uid"],
            spec_name=volume["name"],
            volume_name=persistent["metadata"]["name"],
            driver=source["driver"],
            volume_handle=source["volumeHandle"],
            access_modes=tuple(persistent["spec"]["accessModes"]),
            attributes=tuple(sorted((source.get("volumeAttributes") or {}).items())),
            claim_name=claim_name,
            read_only=read_only,
        )

    def is_attachable(self, volume: PodVolume) -> bool:
        """Without a CSIDriver object attaching is assumed to be required; an inline volume is never attached."""
        driver = self._drivers.get(volume.driver)
        return not volume.is_inline and (driver is None or bool(driver["spec"].get("attachRequired", True)))

    def why_not_allowed(self, volume: PodVolume) -> str:
        """Why the driver must not be asked for a volume of this life cycle; empty when it may."""
        mode = "Ephemeral" if volume.is_inline else "Persistent"
        driver = self._drivers.get(volume.driver)
        if driver is None:
            return f'volume mode "{mode}" not supported by driver {volume.driver} (no CSIDriver object)' * (
                mode == "Ephemeral"
            )
        allowed = driver["spec"].get("volumeLifecycleModes") or ["Persistent"]
        if mode in allowed:
            return ""
        told = " ".join(f'"{name}"' for name in sorted(allowed))
        return f'volume mode "{mode}" not supported by driver {volume.driver} (only supports [{told}])'

    def pod_information(self, volume: PodVolume, pod: Object) -> dict[str, str]:
        """What a driver with `podInfoOnMount` is told of the pod."""
        found = self._drivers.get(volume.driver)
        if found is None or not found["spec"].get("podInfoOnMount"):
            return {}
        return {
            "csi.storage.k8s.io/pod.name": pod["metadata"]["name"],
            "csi.storage.k8s.io/pod.namespace": pod["metadata"]["namespace"],
            "csi.storage.k8s.io/pod.uid": pod["metadata"]["uid"],
            "csi.storage.k8s.io/serviceAccount.name": pod["spec"].get("serviceAccountName", "default"),
            "csi.storage.k8s.io/ephemeral": str(volume.is_inline).lower(),
        }


def _inline(pod: Object, name: str, source: Object) -> PodVolume:
    uid = pod["metadata"]["uid"]
    return PodVolume(
        pod_uid=uid,
        spec_name=name,
        volume_name=name,
        driver=source["driver"],
        volume_handle="csi-" + hashlib.sha256(f"{uid}{name}".encode()).hexdigest(),
        access_modes=_INLINE_MODE,
        attributes=tuple(sorted((source.get("volumeAttributes") or {}).items())),
        read_only=bool(source.get("readOnly")),
    )
