"""The API's way to say no: metav1.Status, as an exception on both sides of the wire."""

from typing import Any

Object = dict[str, Any]
"""A Kubernetes object as decoded JSON. The server never changes one that it has stored or handed out."""


class StatusError(Exception):
    """A request the API server refused. `reason` is the machine's word (`NotFound`, `Conflict`, `Expired`, …)."""

    def __init__(self, code: int, reason: str, message: str, details: Object | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.message = message
        self.details = details

    def to_object(self) -> Object:
        status: Object = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": self.message,
            "reason": self.reason,
            "code": self.code,
        }
        if self.details:
            status["details"] = self.details
        return status

    @classmethod
    def from_object(cls, status: Object) -> "StatusError":
        return cls(
            int(status.get("code", 500)),
            status.get("reason", "Unknown"),
            status.get("message", ""),
            status.get("details"),
        )


def not_found(qualified_resource: str, name: str) -> StatusError:
    """`qualified_resource`: plural with its group, e.g. `volumeattachments.storage.k8s.io`."""
    details = {"name": name, "kind": qualified_resource.partition(".")[0]}
    return StatusError(404, "NotFound", f'{qualified_resource} "{name}" not found', details)


def already_exists(qualified_resource: str, name: str) -> StatusError:
    details = {"name": name, "kind": qualified_resource.partition(".")[0]}
    return StatusError(409, "AlreadyExists", f'{qualified_resource} "{name}" already exists', details)


def conflict(qualified_resource: str, name: str, why: str) -> StatusError:
    details = {"name": name, "kind": qualified_resource.partition(".")[0]}
    message = f'Operation cannot be fulfilled on {qualified_resource} "{name}": {why}'
    return StatusError(409, "Conflict", message, details)


def bad_request(message: str) -> StatusError:
    return StatusError(400, "BadRequest", message)


def invalid(kind: str, name: str, field: str, why: str) -> StatusError:
    details = {"name": name, "kind": kind, "causes": [{"field": field, "message": why}]}
    return StatusError(422, "Invalid", f'{kind} "{name}" is invalid: {field}: {why}', details)


def expired(message: str) -> StatusError:
    """410 Gone: the client has to list again."""
    return StatusError(410, "Expired", message)
