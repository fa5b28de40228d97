"""What may stand where the cursor is. Everything is read off the parser, so that no flag can be forgotten here."""

import argparse
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntFlag

from csitrace.cli.resources import RESOURCE_FIELDS


class Directive(IntFlag):
    """What the shell has to do with the candidates; cobra's numbers."""

    DEFAULT = 0  # without candidates, file names
    NO_SPACE = 2  # more of the word may follow
    NO_FILES = 4
    DIRECTORIES = 16


@dataclass(frozen=True, slots=True)
class Offer:
    """The candidates, each with a description ("" where there is none), and what to do with them."""

    candidates: tuple[tuple[str, str], ...] = ()
    directive: Directive = Directive.NO_FILES

    def starting_with(self, prefix: str) -> "Offer":
        return Offer(tuple(c for c in self.candidates if c[0].startswith(prefix)), self.directive)


Lookup = Callable[[str, argparse.Namespace], Iterable[tuple[str, str]]]
"""Names of a sort (`namespace`, `context`, a filter field such as `pod` …), for the flags given so far."""

FIELDS = {"claim": "pvc", "pod": "pod", "pv": "pv", "node": "node", "class": "sc"}
"""The kinds that can be named, by filter field: what is offered of their many names."""

_LOOKED_UP = {"namespace": "namespace", "context": "context", "cluster": "cluster", "user": "user"}
_PATHS = {
    "kubeconfig": Directive.DEFAULT,
    "kubelet_root": Directive.DIRECTORIES,
    **dict.fromkeys(("paths", "a", "b"), Directive.DEFAULT),
}


@dataclass(slots=True)
class _Line:
    """What the words before the cursor have said."""

    parser: argparse.ArgumentParser
    given: argparse.Namespace = field(default_factory=argparse.Namespace)
    used: set[str] = field(default_factory=set)
    words: list[str] = field(default_factory=list)
    awaited: argparse.Action | None = None
    only_words: bool = False


def complete(parser: argparse.ArgumentParser, words: Sequence[str], lookup: Lookup) -> Offer:
    """The offer for the last of `words`, the one at the cursor; it may be empty."""
    *before, last = words or ("",)
    line = _Line(parser)
    for word in before:
        _read(line, word)
    _fill(line)
    if line.awaited is not None:
        return _values(line.awaited, line, lookup).starting_with(last)
    if not line.only_words and last.startswith("-"):
        flag, is_value, value = last.partition("=")
        action = _flags(line.parser).get(flag) if is_value else None
        if is_value:
            return _values(action, line, lookup).starting_with(value) if action is not None else Offer()
        return _offered_flags(line).starting_with(last)
    commands = _commands(line.parser)
    if commands is not None:
        return Offer(
            tuple((choice.dest, choice.help or "") for choice in commands._choices_actions)
        ).starting_with(last)
    positional = _positional(line)
    if positional is None:
        return Offer()
    if positional.dest == "resources":
        return _resources(line, last, lookup)
    return _values(positional, line, lookup).starting_with(last)


def _read(line: _Line, word: str) -> None:
    """Take in one word that stands before the cursor."""
    if line.awaited is not None:
        _note(line, line.awaited, word)
        line.awaited = None
    elif word == "--":
        line.only_words = True
    elif word.startswith("-") and not line.only_words:
        flag, is_value, value = word.partition("=")
        action = _flags(line.parser).get(flag)
        if action is None and not word.startswith("--"):  # -nshop
            action, is_value, value = _flags(line.parser).get(word[:2]), "=", word[2:]
        if action is None:
            return
        line.used.update(action.option_strings)
        if action.nargs == 0:
            return
        if is_value:
            _note(line, action, value)
        else:
            line.awaited = action
    else:
        commands = _commands(line.parser)
        if commands is not None and not line.words and word in commands.choices:
            line.parser = commands.choices[word]
        else:
            line.words.append(word)


def _note(line: _Line, action: argparse.Action, value: str) -> None:
    known = getattr(line.given, action.dest, None) or []
    setattr(line.given, action.dest, [*known, value] if isinstance(action.default, list) else value)


def _fill(line: _Line) -> None:
    """What was not given has its default."""
    for action in line.parser._actions:
        if action.dest != argparse.SUPPRESS and not hasattr(line.given, action.dest):
            setattr(line.given, action.dest, action.default)


def _flags(parser: argparse.ArgumentParser) -> Mapping[str, argparse.Action]:
    return parser._option_string_actions


def _offered_flags(line: _Line) -> Offer:
    """Those not given yet, and those that may be repeated."""
    offered = []
    for action in line.parser._actions:
        again = isinstance(action.default, list)
        if action.option_strings and (again or not line.used.intersection(action.option_strings)):
            offered += [(name, _described(action)) for name in action.option_strings if name.startswith("--")]
    return Offer(tuple(offered))


def _described(action: argparse.Action) -> str:
    return action.help if action.help and action.help != argparse.SUPPRESS else ""


def _commands(
    parser: argparse.ArgumentParser,
) -> "argparse._SubParsersAction[argparse.ArgumentParser] | None":
    return next((a for a in parser._actions if isinstance(a, argparse._SubParsersAction)), None)


def _positional(line: _Line) -> argparse.Action | None:
    """What the word at the cursor is: each positional takes one word, but for a last that takes all."""
    positionals = [action for action in line.parser._actions if not action.option_strings]
    if not positionals:
        return None
    if len(line.words) < len(positionals):
        return positionals[len(line.words)]
    return positionals[-1] if positionals[-1].nargs in ("*", "+") else None


def _values(action: argparse.Action, line: _Line, lookup: Lookup) -> Offer:
    """What a flag, or a positional, takes."""
    if action.choices is not None:
        return Offer(tuple((str(choice), "") for choice in action.choices))
    if action.dest in _PATHS:
        return Offer(directive=_PATHS[action.dest])
    if action.dest in _LOOKED_UP:
        return Offer(tuple(lookup(_LOOKED_UP[action.dest], line.given)))
    return Offer()


def _resources(line: _Line, last: str, lookup: Lookup) -> Offer:
    """`pv` → `pvc/`, `pvc/d` → `pvc/data`, `pvc d` → `data`, `pvc,p` → `pvc,pod`."""
    kind, slash, name = last.partition("/")
    if slash:
        found = lookup(RESOURCE_FIELDS.get(kind.lower(), ""), line.given)
        return Offer(tuple((f"{kind}/{n}", text) for n, text in found)).starting_with(last)
    kinds = next((word for word in line.words if "/" not in word), "")
    if kinds:
        fields = {RESOURCE_FIELDS.get(part.lower(), "") for part in kinds.split(",")}
        found = (pair for wanted in sorted(fields) for pair in lookup(wanted, line.given))
        return Offer(tuple(found)).starting_with(name or last)
    before, comma, _ = last.rpartition(",")
    offered = tuple((f"{before}{comma}{kind}" + ("" if comma else "/"), "") for kind in FIELDS.values())
    return Offer(offered, Directive.NO_FILES | Directive.NO_SPACE).starting_with(last)
