"""Objects named on the command line, as kubectl names them, and the filter they become."""

import re
from collections.abc import Sequence

from csitrace.errors import UsageError

RESOURCE_FIELDS = {
    **dict.fromkeys(("pvc", "pvcs", "persistentvolumeclaim", "persistentvolumeclaims"), "claim"),
    **dict.fromkeys(("po", "pod", "pods"), "pod"),
    **dict.fromkeys(("pv", "pvs", "persistentvolume", "persistentvolumes"), "pv"),
    **dict.fromkeys(("no", "node", "nodes"), "node"),
    **dict.fromkeys(("sc", "storageclass", "storageclasses"), "class"),
}
"""What may be named on the command line, and the filter field it becomes."""

NAMED = "pvc, pod, pv, node or sc"

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9.:_-]*")


def resource_filter(words: Sequence[str]) -> str:
    """kubectl's `pvc/x pod/y`, `pvc x y`, `pvc,pod x` and `pvc` (all of them) as a filter; "" for no words. Raises UsageError."""
    terms = resource_terms(words)
    return f"({' or '.join(terms)})" if terms else ""


def resource_terms(words: Sequence[str]) -> list[str]:
    """A filter for each object that the words name, or each kind all of whose objects are meant. Raises UsageError."""
    terms: list[str] = []
    fields: list[str] = []  # of the kind that the words that follow are names of
    has_name = True
    for word in words:
        kind, slash, name = word.partition("/")
        if slash:
            terms.append(f'{field_of(kind, name)}="{_checked(name, kind)}"')
        elif not fields:
            fields = [field_of(part, "") for part in word.split(",")]
            has_name = False
        else:
            terms += [f'{field}="{_checked(word, words[0])}"' for field in fields]
            has_name = True
    if not has_name:
        terms += [f"{field}:*" for field in fields]
    return terms


def field_of(kind: str, name: str) -> str:
    """The filter field of a kind, in any of kubectl's spellings (`PVC`, `pods.v1`). `name`: for the error. Raises UsageError."""
    field = RESOURCE_FIELDS.get(kind.lower().partition(".")[0])
    if field is None:
        what = (
            f"{kind}/{name}: volumes are not found by {kind}; use"
            if name
            else f"{kind!r} is none of the kinds"
        )
        raise UsageError(f"{what} {NAMED}, e.g. pvc/{name or kind or 'data'}")
    return field


def _checked(name: str, kind: str) -> str:
    if not _NAME.fullmatch(name):
        raise UsageError(f"{kind}/{name}: {name!r} is no object's name")
    return name


def watch_filter(namespace: str, resources: Sequence[str], expression: str) -> str:
    """What is to be shown, as one filter: of one namespace (PVs come from all of them), of these objects, of this expression."""
    only = f'ns="{namespace}"' if namespace else ""
    given = f"({expression})" if expression and (only or resources) else expression
    return " and ".join(part for part in (only, resource_filter(resources), given) if part)
