"""Names replaced by stable tokens, in the events themselves: whatever is made of them then is redacted, too.

Twice through the events: first all names are gathered (`names`), then every text in which one occurs is written anew. A token
depends on the name and the key alone, so one name is one token everywhere, in every file with the same key; and what kubelet
makes of names (digests in paths, ids of inline volumes, claims of generic ephemeral volumes) is made again of their tokens, so
that what belonged together still does. Names of drivers and classes, and the words of Kubernetes and CSI, are kept.
"""

import hmac
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import msgspec

from csitrace.export.names import EVERYBODYS, Names, names_of
from csitrace.lifecycle import index
from csitrace.lifecycle.paths import staging_digest
from csitrace.model.events import Body, TraceEvent

_ALPHABET = "bcdfghjklmnpqrstvwxz23456789"  # no vowels: tokens spell nothing
_UUID = re.compile(r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}")
_UUID_TAIL = re.compile(rf"(.*?)({_UUID.pattern})", re.DOTALL)

_KEPT = frozenset(
    [
        "kind",
        "method",
        "driver",
        "provisioner",
        "attacher",
        "witness",
        "phase",
        "fs_type",
        "fsType",
        "op",
        "errno",
        "stamp",
        "resourceVersion",
        "resource_version",
        "storageClassName",
        "component",
        "reportingComponent",
        "accessModes",
        "volumeMode",
        "volumeBindingMode",
        "reclaimPolicy",
        "finalizers",
        "effect",
        "persistentVolumeReclaimPolicy",
        "options",
        "propagation",
        "volumeLifecycleModes",
        "fsGroupPolicy",
        "kubeletVersion",
        "kernelVersion",
        "exited",
        "volume.kubernetes.io/storage-provisioner",
        "volume.beta.kubernetes.io/storage-provisioner",
        "volume.kubernetes.io/storage-resizer",
        "pv.kubernetes.io/provisioned-by",
        "pv.kubernetes.io/migrated-to",
        "csitrace.dev/driver",
        "csitrace.dev/component",
        "creationTimestamp",
        "deletionTimestamp",
        "lastTransitionTime",
        "firstTimestamp",
        "lastTimestamp",
        "eventTime",
        "lastPhaseTransitionTime",
        "startTime",
        "startedAt",
        "finishedAt",
        "time",
        "renewTime",
        "acquireTime",
        "lastObservedTime",
        "ops",
        "storage",
    ]
)
"""Fields whose values are words of Kubernetes, CSI or a driver, or times."""

_CONTEXTS = frozenset(
    [
        "volume_context",
        "publish_context",
        "parameters",
        "mutable_parameters",
        "secrets",
        "segments",
        "mount_flags",
    ]
)
"""Fields of CSI requests whose values a driver or a user made up: none of them is known to be harmless."""

_PLAIN = re.compile(r"|true|false|[0-9]{1,2}|rw|ro")

_PROTECTED = (
    r"kubernetes\.io[/~]csi|/globalmount|/mount(?=$|[\s\"',:])|/pods/|/plugins(?:_registry)?/|/volumes/|/volume-subpaths/"
    r"|/volumeDevices/|/var/lib/kubelet|rpc error: code = \w+ desc = |/csi\.v1\.\w+/\w+"
)
"""Words of kubelet's paths and of gRPC, which may also be names (a namespace `csi`): what is read out of texts must stay."""

_HOSTS = (
    r"\b\d{1,3}(?:\.\d{1,3}){3}\b"
    r"|(?<![\w./-])(?:[a-z0-9](?:[a-z0-9-]*[a-z0-9])?\.){2,}[a-z]{2,}(?![\w.-]|/[a-z])"
)
"""Addresses and host names, also those that no object tells. A word before `/`, as in annotations, is none."""

_KNOWN_HOSTS = re.compile(r"(?:.*\.)?(?:k8s\.io|kubernetes\.io|csitrace\.dev)")


def redact(events: Sequence[TraceEvent], key: bytes) -> Iterator[TraceEvent]:
    """The same events without their names. `key`: any bytes; who has it can test whether a name was this one."""
    redaction = Redaction(names_of(events), key)
    return (redaction.event(event) for event in events)


class Redaction:
    """The names of one recording and their tokens."""

    def __init__(self, names: Names, key: bytes) -> None:
        self._key = key
        self._tokens: dict[str, str] = {name: self.token(name) for name in names.chosen}
        for pod, volume in names.generated:
            self._tokens[f"{pod}-{volume}"] = f"{self._of(pod)}-{self._of(volume)}"
        for uid, volume in names.inline:
            handle = index.inline_handle(uid, volume)
            self._tokens[handle] = index.inline_handle(self._of(uid), self._of(volume))
            names.handles.add(handle)
        for handle in names.handles - names.words:
            self._tokens[staging_digest(handle)] = staging_digest(self._of(handle))
        self._words = names.words - {""}
        self._regex = _regex(self._tokens, self._words)
        self._texts: dict[str, str] = {}

    def event(self, event: TraceEvent) -> TraceEvent:
        """One event, redacted."""
        told = msgspec.to_builtins(event.body)
        body = {
            name: value if name == "type" else self._value(name, value, told) for name, value in told.items()
        }
        return msgspec.structs.replace(event, body=msgspec.convert(body, type=Body))

    def text(self, text: str) -> str:
        """A text in which no name is left."""
        known = self._texts.get(text)
        if known is None:
            known = self._texts[text] = self._tokens.get(text) or self._regex.sub(self._replaced, text)
        return known

    def token(self, name: str) -> str:
        """What stands for a name: a uuid for a uuid, `pvc-<uuid>` for one of those, else `x` and ten signs."""
        if _UUID.fullmatch(name):
            digits = self._digest(name).hex()
            return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:32]}"
        if ends := _UUID_TAIL.fullmatch(name):
            prefix = ends[1].rstrip("-")
            return f"{prefix if prefix == 'pvc' else self.token(prefix)}-{self.token(ends[2])}"
        number = int.from_bytes(self._digest(name)[:8], "big")
        signs = []
        for _ in range(10):
            number, sign = divmod(number, len(_ALPHABET))
            signs.append(_ALPHABET[sign])
        return "x" + "".join(signs)

    def _of(self, name: str) -> str:
        return self._tokens.get(name, name)

    def _digest(self, name: str) -> bytes:
        return hmac.digest(self._key, name.encode(), "sha256")

    def _replaced(self, match: re.Match[str]) -> str:
        found = match[0]
        if match["own"]:
            return found
        if token := self._tokens.get(found):
            return token
        return found if _KNOWN_HOSTS.fullmatch(found) else self.token(found)

    def _value(self, name: str, value: Any, parent: dict[str, Any]) -> Any:
        if isinstance(value, dict):
            if name in _CONTEXTS:
                return self._made_up(value)
            return {
                self.text(key) if name in ("request", "response") else key: self._value(key, inner, value)
                for key, inner in value.items()
            }
        if isinstance(value, list | tuple):
            if name in _CONTEXTS:
                return self._made_up(value)
            return [self._value(name, inner, parent) for inner in value]
        if not isinstance(value, str) or name in _KEPT:
            return value
        if name == "scope":
            return self._scope(value, str(parent.get("witness", "")))
        if name == "image":
            return self.text(value.rpartition("/")[2])  # the registry tells whose it is
        if name == "name" and value in self._words and value not in self._tokens:
            return value
        if name in ("type", "status", "reason") and value.isalnum():
            return value
        return self.text(value)

    def _made_up(self, value: Any) -> Any:
        """As `_value`, of what is in `_CONTEXTS`."""
        if isinstance(value, dict):
            return {self.text(str(key)): self._made_up(inner) for key, inner in value.items()}
        if isinstance(value, list | tuple):
            return [self._made_up(inner) for inner in value]
        if (
            not isinstance(value, str)
            or _PLAIN.fullmatch(value)
            or value in EVERYBODYS
            or value in self._words
        ):
            return value
        return self._tokens.get(value) or self.token(value)

    def _scope(self, scope: str, witness: str) -> str:
        if witness == "kubernetes":
            kind, slash, namespace = scope.partition("/")
            return f"{kind}{slash}{self._of(namespace)}"
        driver, at, node = scope.partition("@")
        return f"{driver}@{self._of(node)}" if at else self.text(scope)


def _regex(tokens: Iterable[str], words: Iterable[str]) -> re.Pattern[str]:
    """What is looked for in texts: the words that stay first, then names, the longest first. Names of two signs count as words
    only, longer ones wherever they stand."""
    names = [name for name in tokens if name]
    long = _trie([name for name in names if len(name) > 2])
    short = _trie([name for name in names if len(name) == 2])
    kept = _trie(sorted(words))
    parts = [f"(?P<own>{_PROTECTED}{'|' + _bounded(kept) if kept else ''})"]
    parts += [part for part in (_HOSTS, long, _bounded(short) if short else "") if part]
    return re.compile("|".join(parts))


def _bounded(pattern: str) -> str:
    return rf"(?<![A-Za-z0-9])(?:{pattern})(?![A-Za-z0-9])"


def _trie(names: list[str]) -> str:
    """A regular expression for any of the names, the longest that fits, in which common beginnings are looked at once."""
    root: dict[str, Any] = {}
    for name in names:
        place = root
        for sign in name:
            place = place.setdefault(sign, {})
        place[""] = {}
    return _spelled(root)


def _spelled(place: dict[str, Any]) -> str:
    run = ""
    while len(place) == 1:  # without branches: no recursion
        sign, inner = next(iter(place.items()))
        if not sign:
            return run
        run += re.escape(sign)
        place = inner
    if not place:
        return run
    branches = [re.escape(sign) + _spelled(inner) for sign, inner in place.items() if sign]
    return f"{run}(?:{'|'.join(branches)}){'?' if '' in place else ''}"
