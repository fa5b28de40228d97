"""JSON merge patch (RFC 7386) and the part of strategic merge patch that Kubernetes' own programs rely on."""

from typing import Any

MERGE_KEYS: dict[str, str] = {
    # name of the list -> the field that identifies an entry (patchMergeKey in the API's types)
    "conditions": "type",
    "containers": "name",
    "containerStatuses": "name",
    "initContainerStatuses": "name",
    "ownerReferences": "uid",
    "podIPs": "ip",
    "addresses": "type",
    "volumes": "name",
}

_PRIMITIVE_MERGE_LISTS = frozenset({"finalizers"})


def merge_patch(target: Any, patch: Any) -> Any:
    """RFC 7386: null removes, objects merge, everything else replaces."""
    if not isinstance(patch, dict):
        return patch
    merged = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            merged.pop(name, None)
        else:
            merged[name] = merge_patch(merged.get(name), value)
    return merged


def strategic_merge_patch(target: Any, patch: Any) -> Any:
    """As a merge patch, but lists of objects merge by key, finalizers as sets, and `$patch`, `$deleteFromPrimitiveList/…` and
    `$retainKeys`/`$setElementOrder/…` are directives, of which the last two only tell an order and are dropped."""
    if not isinstance(patch, dict):
        return patch
    if patch.get("$patch") == "replace":
        return {name: value for name, value in patch.items() if name != "$patch"}
    merged = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if name.startswith("$"):
            directive, _, list_name = name.partition("/")
            if directive == "$deleteFromPrimitiveList":
                merged[list_name] = [entry for entry in merged.get(list_name, []) if entry not in value]
        elif value is None:
            merged.pop(name, None)
        elif isinstance(value, list):
            merged[name] = _merge_list(name, merged.get(name) or [], value)
        else:
            merged[name] = strategic_merge_patch(merged.get(name), value)
    return merged


def _merge_list(name: str, current: list[Any], patch: list[Any]) -> list[Any]:
    if name in _PRIMITIVE_MERGE_LISTS:
        return current + [entry for entry in patch if entry not in current]
    key = MERGE_KEYS.get(name)
    if not key or not all(isinstance(entry, dict) for entry in patch):
        return patch
    entries = {entry.get(key): entry for entry in current}
    for change in patch:
        identity = change.get(key)
        if change.get("$patch") == "delete":
            entries.pop(identity, None)
        else:
            entries[identity] = strategic_merge_patch(entries.get(identity), change)
    return list(entries.values())
