"""CSI calls as facts: what is taken from a request when it comes in and from the answer when it goes out."""

import itertools
import threading
import time
from collections import OrderedDict

from csitrace.feed.memory import MAX_OPERATIONS, Operation, operation_of
from csitrace.feed.publisher import Publisher
from csitrace.feed.redaction import redact, scrub, scrub_values, secrets_of
from csitrace.model.events import RpcFinished, RpcStarted
from csitrace.model.rpc import Code

CSI_PREFIX = "/csi.v1."


class CallTracer:
    """Publishes the start and the end of CSI calls. Thread-safe; knows messages by their descriptors only."""

    def __init__(self, publisher: Publisher) -> None:
        self._publisher = publisher
        self._ids = itertools.count(1)
        self._lock = threading.Lock()
        self._attempts: OrderedDict[Operation, int] = OrderedDict()

    def start(self, method: str, request: object) -> "Call":
        """A call of `method` (full path) came in; whoever starts a call finishes it."""
        origin = self._publisher.origin
        volume_id = _text(request, "volume_id") or _text(request, "source_volume_id")
        volume_name = _text(request, "name") if method.endswith("/CreateVolume") else ""
        node_id = _text(request, "node_id")
        target_path = _text(request, "target_path")
        started = RpcStarted(
            driver=origin.driver,
            instance=origin.instance,
            node_name=origin.node_name,
            call_id=next(self._ids),
            method=method,
            volume_id=volume_id,
            volume_name=volume_name,
            node_id=node_id,
            staging_target_path=_text(request, "staging_target_path"),
            target_path=target_path,
            attempt=self._count(Operation(method, volume_id or volume_name, node_id, target_path)),
            request=redact(request),
        )
        self._publisher.publish(started)
        return Call(self, started, secrets_of(request))

    def finish(self, started: RpcStarted, finished: RpcFinished) -> None:
        """The call ended: a success ends the series of attempts."""
        if finished.code == Code.OK:
            with self._lock:
                self._attempts.pop(operation_of(started), None)
        self._publisher.publish(finished)

    def _count(self, operation: Operation) -> int:
        with self._lock:
            attempt = self._attempts[operation] = self._attempts.pop(operation, 0) + 1
            if len(self._attempts) > MAX_OPERATIONS:
                self._attempts.popitem(last=False)
            return attempt


class Call:
    """A call in flight."""

    def __init__(self, tracer: CallTracer, started: RpcStarted, secrets: frozenset[str]) -> None:
        self._tracer = tracer
        self._started = started
        self._secrets = secrets
        self._began_ns = time.monotonic_ns()

    def finish(self, code: int, message: str = "", response: object = None) -> None:
        """It was answered: gRPC `code`, status `message`, and the `response` where there is one."""
        started = self._started
        self._tracer.finish(
            started,
            RpcFinished(
                driver=started.driver,
                instance=started.instance,
                node_name=started.node_name,
                call_id=started.call_id,
                method=started.method,
                code=code,
                message=scrub(message, self._secrets),
                duration_ns=time.monotonic_ns() - self._began_ns,
                volume_id=started.volume_id or _text(getattr(response, "volume", None), "volume_id"),
                volume_name=started.volume_name,
                attempt=started.attempt,
                response=scrub_values(redact(response), self._secrets),
            ),
        )


def _text(message: object, field: str) -> str:
    """A text field of a message of any type; empty where it has none of that name."""
    value = getattr(message, field, "")
    return value if isinstance(value, str) else ""
