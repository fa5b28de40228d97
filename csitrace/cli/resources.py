"""Objects named on the command line, as kubectl names them, and the filter they become."""

from collections.abc import Sequence

from csitrace.errors import UsageError

RESOURCE_FIELDS = {
    **dict.fromkeys(("pvc", "pvcs", "persistentvolumeclaim", "persistentvolumeclaims"), "claim"),
    **dict.fromkeys(("pv", "pvs", "persistentvolume", "persistentvolumes"), "pv"),
    **dict.fromkeys(("po", "pod", "pods"), "pod"),
    **dict.fromkeys(("no", "node", "nodes"), "node"),
    **dict.fromkeys(("sc", "storageclass", "storageclasses"), "class"),
}
"""What may be named on the command line, and the filter field it becomes."""


def resource_filter(resources: Sequence[str]) -> str:
    """`pvc/x pod/y` as a filter; kubectl's `pvc x` is understood, too. Raises UsageError."""
    terms, words = [], list(resources)
    while words:
        kind, slash, name = words.pop(0).partition("/")
        if not slash:
            if kind.lower() not in RESOURCE_FIELDS or not words:
                raise UsageError(f"{kind!r} names no object: say e.g. pvc/{kind}")
            name = words.pop(0)
        field = RESOURCE_FIELDS.get(kind.lower())
        if field is None:
            raise UsageError(f"{kind}/{name}: volumes are not found by {kind}; use pvc, pod, pv, node or sc")
        terms.append(f'{field}="{name}"')
    return f"({' or '.join(terms)})" if terms else ""


def watch_filter(namespace: str, resources: Sequence[str], expression: str) -> str:
    """What is to be shown, as one filter: of one namespace (PVs come from all of them), of these objects, of this expression."""
    only = f'ns="{namespace}"' if namespace else ""
    given = f"({expression})" if expression and (only or resources) else expression
    return " and ".join(part for part in (only, resource_filter(resources), given) if part)
