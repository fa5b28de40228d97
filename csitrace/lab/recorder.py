"""Events as the components write them: the legacy recorder of all but the scheduler, and the scheduler's through events.k8s.io.

The same message about the same object is counted, not repeated, as client-go's correlator does.
"""

import time

from csitrace.lab.apiserver.resources import EVENTS
from csitrace.lab.client import Client
from csitrace.lab.clock import micro_timestamp, timestamp
from csitrace.lab.status import Object, StatusError


class EventRecorder:
    """`component`: who says it (`kubelet`); `host`: the node's name, for node components alone."""

    def __init__(
        self, client: Client, component: str, host: str = "", through_events_api: bool = False
    ) -> None:
        self._client = client
        self._component = component
        self._host = host
        self._through_events_api = through_events_api
        self._written: dict[tuple[str, str, str, str], Object] = {}

    async def normal(self, about: Object, reason: str, message: str) -> None:
        await self._record(about, "Normal", reason, message)

    async def warning(self, about: Object, reason: str, message: str) -> None:
        await self._record(about, "Warning", reason, message)

    async def _record(self, about: Object, kind: str, reason: str, message: str) -> None:
        key = (about["metadata"]["uid"], kind, reason, message)
        if (written := self._written.get(key)) is not None:
            try:
                self._written[key] = await self._client.patch(EVENTS, written, self._repetition(written))
                return
            except StatusError as error:
                if error.reason != "NotFound":  # outlived its hour: say it anew
                    raise
        try:
            self._written[key] = await self._client.create(EVENTS, self._event(about, kind, reason, message))
        except StatusError as error:
            if error.reason not in ("NotFound", "Forbidden"):  # its namespace is gone, or going
                raise

    def _repetition(self, written: Object) -> Object:
        if not self._through_events_api:
            return {"count": written["count"] + 1, "lastTimestamp": timestamp()}
        count = (written.get("series") or {"count": 1})["count"]
        return {"series": {"count": count + 1, "lastObservedTime": micro_timestamp()}}

    def _event(self, about: Object, kind: str, reason: str, message: str) -> Object:
        metadata = about["metadata"]
        # Events about cluster-scoped objects live in the namespace `default`.
        namespace = metadata.get("namespace") or "default"
        event: Object = {
            "metadata": {"name": f"{metadata['name']}.{time.time_ns():x}", "namespace": namespace},
            "involvedObject": {
                "kind": about["kind"],
                "apiVersion": about["apiVersion"],
                "name": metadata["name"],
                "uid": metadata["uid"],
                "resourceVersion": metadata["resourceVersion"],
            },
            "type": kind,
            "reason": reason,
            "message": message,
            "reportingComponent": self._component,
            "reportingInstance": self._host,
        }
        if metadata.get("namespace"):
            event["involvedObject"]["namespace"] = metadata["namespace"]
        if self._through_events_api:
            return event | {
                "eventTime": micro_timestamp(),
                "firstTimestamp": None,
                "lastTimestamp": None,
                "source": {},
                "action": "Scheduling",
            }
        now = timestamp()
        source = {"component": self._component} | ({"host": self._host} if self._host else {})
        return event | {
            "eventTime": None,
            "firstTimestamp": now,
            "lastTimestamp": now,
            "count": 1,
            "source": source,
        }
