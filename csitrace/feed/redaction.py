"""What of a CSI message may leave the driver: everything here is an allow-list.

* A field marked `csi_secret` (CSI specification, "Secrets Requirements"), and any map named `secrets`, is gone as if never set.
* Text is kept only in fields the CSI specification gives a harmless meaning; other text becomes `REDACTED`, so that one
  sees it was there. Numbers, booleans and enumerations are kept.
* Maps of text (parameters, contexts) keep their keys; values only under keys that Kubernetes or its sidecars are known to set.
* Mount flags lose the value behind `=` unless the option is known to be a mere setting (`nfsvers=4.1` stays, `password=…` goes).
* Long lists and long text are cut: a feed is for watching, not for transport.

Works from message descriptors alone, so on any driver's own copy of csi.proto, whether or not it registers the extension.
"""

import base64
import json
import re
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import quote

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

REDACTED = "<redacted>"
MAX_ITEMS = 20
MAX_TEXT = 4096

CSI_SECRET = 1059
"""Field number of the `csi_secret` extension of google.protobuf.FieldOptions (csi.proto)."""

PLAIN_TEXT = frozenset(
    {
        *("volume_id", "name", "node_id", "source_volume_id", "snapshot_id", "group_snapshot_id"),
        *("staging_target_path", "target_path", "volume_path", "fs_type", "volume_mount_group"),
        *("published_node_ids", "vendor_version", "message"),
    }
)
"""Text fields of CSI messages that identify or describe, and are visible to every reader of the API objects anyway."""

PLAIN_MAPS = frozenset({"segments"})
"""Maps whose values are all kept: topology is labels of Node objects."""

PLAIN_KEYS = frozenset(
    {
        "csi.storage.k8s.io/pvc/name",
        "csi.storage.k8s.io/pvc/namespace",
        "csi.storage.k8s.io/pv/name",
        "csi.storage.k8s.io/fstype",
        "csi.storage.k8s.io/pod.name",
        "csi.storage.k8s.io/pod.namespace",
        "csi.storage.k8s.io/pod.uid",
        "csi.storage.k8s.io/serviceAccount.name",
        "csi.storage.k8s.io/ephemeral",
        "csi.storage.k8s.io/volumesnapshot/name",
        "csi.storage.k8s.io/volumesnapshot/namespace",
        "csi.storage.k8s.io/volumesnapshotcontent/name",
        "storage.kubernetes.io/csiProvisionerIdentity",
    }
)
"""Keys of parameters and contexts that external-provisioner (--extra-create-metadata), external-snapshotter and kubelet
(podInfoOnMount) set themselves, with names of API objects as values."""

PLAIN_MOUNT_OPTIONS = frozenset(
    {
        *(
            "vers",
            "nfsvers",
            "minorversion",
            "proto",
            "port",
            "rsize",
            "wsize",
            "timeo",
            "retrans",
            "nconnect",
            "sec",
            "lookupcache",
        ),
        *(
            "acregmin",
            "acregmax",
            "acdirmin",
            "acdirmax",
            "actimeo",
            "cache",
            "data",
            "commit",
            "errors",
            "size",
            "mode",
        ),
        *("uid", "gid", "umask", "file_mode", "dir_mode", "max_read", "user_id", "group_id"),
    }
)
"""Mount options (mount(8), nfs(5), mount.cifs(8), mount.fuse(8)) whose values are settings, never credentials."""

_TOKENS_KEY = "csi.storage.k8s.io/serviceAccount.tokens"
"""Where kubelet puts service account tokens, as JSON, unless they go into `secrets` (CSIDriver.spec.tokenRequests)."""

_Keep = Callable[[Any], Any]
_DROP = object()

_keepers: dict[FieldDescriptor, _Keep | object] = {}


def redact(message: object) -> dict[str, Any]:
    """The tellable part of a CSI request or response under its field names, as JSON values; {} for what is no message."""
    if not isinstance(message, Message):
        return {}
    told: dict[str, Any] = {}
    for field, value in message.ListFields():
        keep = _keepers.get(field)
        if keep is None:
            keep = _keepers[field] = _keeper(field)
        if not callable(keep):
            continue
        if not field.is_repeated or _is_map(field):
            told[field.name] = keep(value)
            continue
        told[field.name] = [keep(item) for item in value[:MAX_ITEMS]]
        if len(value) > MAX_ITEMS:
            told[f"{field.name}_omitted"] = len(value) - MAX_ITEMS
    return told


def secrets_of(message: object) -> frozenset[str]:
    """Every secret text in a request: values of its csi_secret fields, and service account tokens in its context."""
    return frozenset(_secrets_of(message)) if isinstance(message, Message) else frozenset()


def scrub(text: str, secrets: frozenset[str]) -> str:
    """`text` without any of `secrets`, also where it is quoted, escaped, encoded or cited line by line; cut to MAX_TEXT.

    A secret of fewer than four characters is removed only where it stands as a word of its own.
    """
    forms = sorted({form for secret in secrets for form in _forms(secret)}, key=len, reverse=True)
    if forms:
        text = re.sub("|".join(map(_pattern, forms)), REDACTED, text)
    return _cut(text)


def scrub_values(told: dict[str, Any], secrets: frozenset[str]) -> dict[str, Any]:
    """A redacted message whose free texts (fields named `message`) are also scrubbed of `secrets`."""
    if not secrets:
        return told
    return {name: _scrub_value(name, value, secrets) for name, value in told.items()}


def _scrub_value(name: str, value: Any, secrets: frozenset[str]) -> Any:
    if isinstance(value, dict):
        return scrub_values(value, secrets)
    if isinstance(value, list):
        return [_scrub_value(name, item, secrets) for item in value]
    return scrub(value, secrets) if name == "message" and isinstance(value, str) else value


def _keeper(field: FieldDescriptor) -> _Keep | object:
    """How to tell this field's value (one item of it, where it is repeated), or _DROP."""
    if is_secret(field):
        return _DROP
    if _is_map(field):
        return _whole_map if field.name in PLAIN_MAPS else _known_keys
    if field.message_type is not None:
        return redact
    if field.enum_type is not None:
        names = {number: value.name for number, value in field.enum_type.values_by_number.items()}
        return lambda number: names.get(number, number)
    if field.type == FieldDescriptor.TYPE_BYTES:
        return lambda _value: REDACTED
    if field.type != FieldDescriptor.TYPE_STRING:
        return lambda value: value
    if field.name == "mount_flags":
        return _mount_flag
    return _cut if field.name in PLAIN_TEXT else lambda _value: REDACTED


def is_secret(field: FieldDescriptor) -> bool:
    """Whether csi.proto marks this field `csi_secret`, or it is a map named `secrets` in a copy that lost its options."""
    if _is_map(field) and (field.name == "secrets" or field.name.endswith("_secrets")):
        return True
    return any(
        number == CSI_SECRET and value for number, value in _varints(field.GetOptions().SerializeToString())
    )


def _is_map(field: FieldDescriptor) -> bool:
    return field.message_type is not None and field.message_type.GetOptions().map_entry


def _varints(wire: bytes) -> Iterator[tuple[int, int]]:
    """(field number, value) of the varint fields at the top level of an encoded message, known to its type or not."""
    at = 0
    while at < len(wire):
        tag, at = _varint(wire, at)
        match tag & 7:
            case 0:
                value, at = _varint(wire, at)
                yield tag >> 3, value
            case 1:
                at += 8
            case 2:
                length, at = _varint(wire, at)
                at += length
            case 5:
                at += 4
            case _:
                return


def _varint(wire: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while at < len(wire):
        byte = wire[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            break
        shift += 7
    return value, at


def _whole_map(values: Any) -> dict[str, Any]:
    return {key: _cut(str(value)) for key, value in sorted(values.items())}


def _known_keys(values: Any) -> dict[str, str]:
    return {
        _cut(str(key)): _cut(str(values[key])) if key in PLAIN_KEYS else REDACTED for key in sorted(values)
    }


def _mount_flag(flag: str) -> str:
    """One mount flag, which may hold several options separated by commas."""
    return _cut(",".join(_mount_option(option) for option in flag.split(",")))


def _mount_option(option: str) -> str:
    name, equals, value = option.partition("=")
    return f"{name}={REDACTED}" if equals and value and name not in PLAIN_MOUNT_OPTIONS else option


def _cut(text: str) -> str:
    return text if len(text) <= MAX_TEXT else f"{text[:MAX_TEXT]}… ({len(text) - MAX_TEXT} more characters)"


def _secrets_of(message: Message) -> Iterator[str]:
    for field, value in message.ListFields():
        if is_secret(field):
            yield from _texts(field, value)
        elif _is_map(field):
            yield from _tokens(value[_TOKENS_KEY]) if _TOKENS_KEY in value else ()
        elif field.message_type is not None:
            for item in value if field.is_repeated else (value,):
                yield from _secrets_of(item)


def _texts(field: FieldDescriptor, value: Any) -> Iterator[str]:
    """All text below a secret field, whatever its shape."""
    if _is_map(field):
        yield from (str(item) for item in value.values())
    elif field.is_repeated:
        yield from (str(item) for item in value)
    else:
        yield value.decode(errors="replace") if isinstance(value, bytes) else str(value)


def _tokens(document: str) -> Iterator[str]:
    """The tokens in kubelet's `{"<audience>": {"token": …, "expirationTimestamp": …}}`, and the document itself."""
    yield document
    try:
        audiences = json.loads(document)
    except ValueError:
        return
    if isinstance(audiences, dict):
        for granted in audiences.values():
            if isinstance(granted, dict) and isinstance(granted.get("token"), str):
                yield granted["token"]


def _pattern(form: str) -> str:
    return re.escape(form) if len(form) >= 4 else rf"(?<!\w){re.escape(form)}(?!\w)"


def _forms(secret: str) -> Iterator[str]:
    """The ways in which an error message may show a secret."""
    stripped = secret.strip()
    if not stripped:
        return
    yield secret
    yield stripped
    yield quote(stripped, safe="")
    yield json.dumps(stripped)[1:-1]
    yield repr(stripped)[1:-1]
    yield base64.b64encode(secret.encode(errors="replace")).decode()
    yield from (line for line in stripped.splitlines() if len(line) >= 8)
