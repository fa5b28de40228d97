"""Label and field selectors: parsed once, then a predicate over objects."""

import re
from collections.abc import Callable, Iterator
from typing import Any

from csitrace.lab.apiserver.resources import Resource
from csitrace.lab.status import Object, bad_request

Predicate = Callable[[Object], bool]

_SET_TERM = re.compile(r"^\s*(?P<key>[^\s!=(),]+)\s+(?P<op>in|notin)\s*\((?P<values>[^()]*)\)\s*$")
_EQUALITY_TERM = re.compile(r"^\s*(?P<key>[^\s!=(),]+)\s*(?P<op>==|=|!=)\s*(?P<value>[^\s!=(),]*)\s*$")
_EXISTS_TERM = re.compile(r"^\s*(?P<absent>!?)\s*(?P<key>[^\s!=(),]+)\s*$")


def parse_label_selector(text: str) -> Predicate:
    """`app=web,tier in (a,b),!legacy`; an empty text selects everything. StatusError 400 for what cannot be read."""
    return _all_of([_label_term(term) for term in _split(text)])


def parse_field_selector(text: str, resource: Resource) -> Predicate:
    """`spec.nodeName=n1,status.phase!=Running` over the resource's selectable fields, absent fields being empty."""
    return _all_of([_field_term(term, resource) for term in _split(text)])


def field_value(obj: Object, path: str) -> str:
    """The text of a dotted field, as the API compares it: absent is empty, booleans are `true` and `false`."""
    if path == "source":  # an Event's, which the API compares by its component
        path = "source.component"
    value: Any = obj
    for part in path.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    if isinstance(value, bool):
        return str(value).lower()
    return "" if value is None else str(value)


def _all_of(terms: list[Predicate]) -> Predicate:
    return lambda obj: all(term(obj) for term in terms)


def _split(text: str) -> Iterator[str]:
    """Terms between commas that are not inside parentheses."""
    depth, start = 0, 0
    for index, character in enumerate(text):
        depth += (character == "(") - (character == ")")
        if character == "," and depth == 0:
            yield text[start:index]
            start = index + 1
    if text[start:].strip() or start:
        yield text[start:]


def _labels(obj: Object) -> dict[str, str]:
    return obj.get("metadata", {}).get("labels") or {}


def _label_term(term: str) -> Predicate:
    if match := _SET_TERM.match(term):
        key, values = match["key"], {value.strip() for value in match["values"].split(",")}
        if match["op"] == "in":
            return lambda obj: _labels(obj).get(key) in values
        return lambda obj: _labels(obj).get(key) not in values
    if match := _EQUALITY_TERM.match(term):
        key, value = match["key"], match["value"]
        if match["op"] == "!=":
            return lambda obj: _labels(obj).get(key) != value
        return lambda obj: _labels(obj).get(key) == value
    if match := _EXISTS_TERM.match(term):
        key, wanted = match["key"], not match["absent"]
        return lambda obj: (key in _labels(obj)) is wanted
    raise bad_request(f"unable to parse requirement: {term!r}")


def _field_term(term: str, resource: Resource) -> Predicate:
    match = _EQUALITY_TERM.match(term)
    if not match:
        raise bad_request(f"invalid selector: {term!r}; can't understand {term!r}")
    path, value, equal = match["key"], match["value"], match["op"] != "!="
    if path not in resource.selectable_fields:
        raise bad_request(f"field label not supported: {path}")
    return lambda obj: (field_value(obj, path) == value) is equal
