"""Lists in pages that belong to one snapshot, and what a list or watch request may ask."""

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass

import msgspec

from csitrace.lab.apiserver.resources import Resource
from csitrace.lab.apiserver.selectors import Predicate, parse_field_selector, parse_label_selector
from csitrace.lab.apiserver.store import Store
from csitrace.lab.status import Object, StatusError, bad_request, expired, invalid


@dataclass(frozen=True, slots=True)
class ListOptions:
    """The query of a list or watch (metav1.ListOptions), read and checked. `namespace`: empty for all."""

    namespace: str
    selects: Predicate
    is_selective: bool
    limit: int
    continue_token: str
    resource_version: str
    resource_version_match: str
    watch: bool
    bookmarks: bool
    send_initial_events: bool
    timeout_seconds: float | None

    @classmethod
    def parse(cls, query: Mapping[str, str], resource: Resource, namespace: str, name: str) -> "ListOptions":
        """`name`: from a path such as `…/watch` of one object, else empty. StatusError 400 or 422 for what makes no sense."""
        labels = parse_label_selector(query.get("labelSelector", ""))
        field_text = query.get("fieldSelector", "")
        if name:
            field_text = ",".join(part for part in (field_text, f"metadata.name={name}") if part)
        fields = parse_field_selector(field_text, resource)

        def selects(obj: Object) -> bool:
            metadata = obj["metadata"]
            return (not namespace or metadata.get("namespace") == namespace) and labels(obj) and fields(obj)

        options = cls(
            namespace=namespace,
            selects=selects,
            is_selective=bool(query.get("labelSelector") or field_text),
            limit=_integer(query, "limit"),
            continue_token=query.get("continue", ""),
            resource_version=query.get("resourceVersion", ""),
            resource_version_match=query.get("resourceVersionMatch", ""),
            watch=_boolean(query, "watch"),
            bookmarks=_boolean(query, "allowWatchBookmarks"),
            send_initial_events=_boolean(query, "sendInitialEvents"),
            timeout_seconds=float(_integer(query, "timeoutSeconds")) or None,
        )
        options._check()
        return options

    def _check(self) -> None:
        if self.resource_version and not self.resource_version.isdecimal():
            raise bad_request(f"invalid resource version: {self.resource_version!r}")
        if self.send_initial_events and self.resource_version_match != "NotOlderThan":
            why = "Forbidden: sendInitialEvents requires setting resourceVersionMatch to NotOlderThan"
            raise invalid("ListOptions", "", "resourceVersionMatch", why)
        if self.watch and self.resource_version_match and not self.send_initial_events:
            why = (
                "Forbidden: resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided"
            )
            raise invalid("ListOptions", "", "resourceVersionMatch", why)


def list_page(store: Store, resource: Resource, options: ListOptions) -> Object:
    """One page. With a `continue` token: the next one of the snapshot that the first page was taken from, or 410."""
    revision, after = store.revision, ("", "")
    if options.continue_token:
        revision, after = _read_token(options.continue_token)
        try:
            store.require(revision)
        except StatusError as error:
            raise expired(
                "The provided continue parameter is too old to display a consistent list result. You can start a new "
                "list without the continue parameter, or use the continue token in this response to retrieve the "
                "remainder of the results. Continuing with the provided token results in an inconsistent list."
            ) from error
    elif options.resource_version_match == "Exact":
        revision = int(options.resource_version)
    refuse_future(store, options)
    selected = [obj for obj in store.objects(resource, at=revision) if options.selects(obj)]
    remaining = [obj for obj in selected if _position(obj) > after]
    items = remaining[: options.limit] if options.limit else remaining
    metadata: Object = {"resourceVersion": str(revision)}
    if len(items) < len(remaining):
        metadata["continue"] = _write_token(revision, _position(items[-1]))
        if not options.is_selective:
            metadata["remainingItemCount"] = len(remaining) - len(items)
    return {
        "kind": f"{resource.kind}List",
        "apiVersion": resource.api_version,
        "metadata": metadata,
        "items": items,
    }


def refuse_future(store: Store, options: ListOptions) -> None:
    """A version that is not written yet: the server would wait for it, and give up. StatusError 504, to be retried."""
    wanted = int(options.resource_version or 0)
    if wanted > store.revision:
        details: Object = {
            "causes": [{"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}],
            "retryAfterSeconds": 1,
        }
        message = f"Too large resource version: {wanted}, current: {store.revision}"
        raise StatusError(504, "Timeout", message, details)


def _position(obj: Object) -> tuple[str, str]:
    return obj["metadata"].get("namespace", ""), obj["metadata"]["name"]


def _write_token(revision: int, after: tuple[str, str]) -> str:
    token = {"v": "meta.k8s.io/v1", "rv": revision, "start": "/".join(after)}
    return base64.urlsafe_b64encode(msgspec.json.encode(token)).decode().rstrip("=")


def _read_token(text: str) -> tuple[int, tuple[str, str]]:
    try:
        token = msgspec.json.decode(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
        namespace, _, name = token["start"].rpartition("/")
        return int(token["rv"]), (namespace, name)
    except (binascii.Error, msgspec.DecodeError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise bad_request("continue key is not valid: it was not made by this server") from error


def _integer(query: Mapping[str, str], name: str) -> int:
    text = query.get(name, "") or "0"
    if not text.isdecimal():
        raise bad_request(f"invalid value for {name}: {text!r} is no whole number")
    return int(text)


def _boolean(query: Mapping[str, str], name: str) -> bool:
    text = query.get(name, "")
    return text not in ("", "0", "false")
