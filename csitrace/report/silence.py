"""Who is not heard, in as few sentences as will do: a user of one namespace is refused many kinds, which is no news ten times."""

from collections.abc import Iterable
from dataclasses import dataclass

from csitrace.lifecycle.state import SourceState, State
from csitrace.model.events import Witness

_REFUSAL = "may not list and watch"


@dataclass(frozen=True, slots=True)
class Silence:
    """One scope of one witness that is not heard. `heard_in`: the namespace in which it is heard all the same."""

    witness: str
    scope: str
    why: str
    denied: bool = False
    heard_in: str = ""


def silences(state: State) -> dict[str, Silence]:
    """What is not heard now, by witness and scope; a kind that is refused everywhere is one scope."""
    silent: dict[str, Silence] = {}
    for (witness, scope), source in state.sources.items():
        if source.up:
            continue
        kind, _, namespace = scope.partition("/")
        if witness is Witness.KUBERNETES:
            narrower = _narrower(state, kind) if not namespace else []
            if source.denied and any(not other.up for other in narrower):
                continue  # the narrower scope says it, too
            heard_in = next((other.scope.partition("/")[2] for other in narrower if other.up), "")
        else:
            heard_in = ""
        found = Silence(witness.value, scope, source.reason or "not heard yet", source.denied, heard_in)
        silent[f"{witness.value} {scope}"] = found
    return silent


def _narrower(state: State, kind: str) -> list[SourceState]:
    """The sources of single namespaces of a kind."""
    return [
        source
        for (witness, scope), source in state.sources.items()
        if witness is Witness.KUBERNETES and scope.startswith(f"{kind}/")
    ]


def sentences(silent: Iterable[Silence]) -> list[str]:
    """What to say of these: one sentence for all that is refused, one for each namespace alone that may be read, and one for all
    that one witness does not tell for the same reason."""
    groups: dict[str, list[Silence]] = {}
    for item in sorted(silent, key=lambda item: (item.witness, item.scope)):
        if item.denied and item.why.startswith(_REFUSAL):
            groups.setdefault(item.heard_in or _REFUSAL, []).append(item)
        else:
            groups.setdefault(f"{item.witness} {item.why}", []).append(item)
    return [_sentence(group) for group in groups.values()]


def _sentence(group: list[Silence]) -> str:
    first = group[0]
    scopes = f"{first.witness} {', '.join(item.scope for item in group)}"
    if first.heard_in:
        return f"heard in namespace {first.heard_in} only: {scopes}"
    is_refused = len(group) > 1 and first.why.startswith(_REFUSAL)
    return f"not heard: {scopes}: {f'{_REFUSAL} them' if is_refused else first.why}"
