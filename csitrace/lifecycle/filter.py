"""The filter language: words and `field:value` terms over rows, joined by `and`, `or`, `not` and brackets.

    driver:ebs and stuck>30s and not ns:dev

    expression = conjunction { "or" conjunction }
    conjunction = negation { ["and"] negation }
    negation = "not" negation | "(" expression ")" | term
    term = field operator value | word
    operator = ":" | "=" | ">" | ">=" | "<" | "<="

A word, and a text after `:`, is looked for anywhere in the names, in any case; with `*` in it, or after `=`, the whole name
must match.
`field:*` asks that the field be told at all. Quotes (") take blanks, brackets and keywords literally.
What no witness tells is neither greater nor smaller than anything: such a term does not match.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from fnmatch import fnmatchcase
from typing import Generic, TypeVar

from csitrace.errors import FilterError
from csitrace.lifecycle.state import StepStatus
from csitrace.lifecycle.views import Severity, VolumeRow
from csitrace.model.times import DAY, HOUR, MILLISECOND, MINUTE, SECOND

Row = TypeVar("Row")

Test = Callable[[Row, int], bool]
"""Whether a row passes at a time `now` (ns)."""


class Kind(Enum):
    """What a field's values are, and so which operators and which spelling of values it takes."""

    TEXT = "a text"
    NUMBER = "a number"
    DURATION = "a duration such as 30s, 5m or 2h"
    PHASE = "created, node_ready, vol_ready or published"


@dataclass(frozen=True, slots=True)
class Field(Generic[Row]):
    """One field of a row type. `read` gives texts for TEXT, else one number or None where it is not known."""

    kind: Kind
    meaning: str
    texts: Callable[[Row], tuple[str, ...]] = lambda row: ()
    number: Callable[[Row, int], float | None] = lambda row, now: None


@dataclass(frozen=True, slots=True)
class Filter(Generic[Row]):
    """A filter that was understood. `text` is what the user wrote; empty: everything passes."""

    text: str
    test: Test[Row]

    def matches(self, row: Row, now: int) -> bool:
        return self.test(row, now)

    def __bool__(self) -> bool:
        return bool(self.text)


def parse(
    text: str, fields: Mapping[str, Field[Row]], names: Callable[[Row], tuple[str, ...]]
) -> Filter[Row]:
    """The filter that `text` spells; `names` are what bare words are looked for in. Raises `FilterError`."""
    tokens = tokenize(text)
    if not tokens:
        return Filter("", lambda row, now: True)
    return Filter(text.strip(), _Parser(text, tokens, fields, names).whole())


def parse_volume_filter(text: str) -> Filter[VolumeRow]:
    """A filter over the list of volumes. Raises `FilterError`, whose `position` is the offset of the offending word."""
    return parse(text, VOLUME_FIELDS, volume_names)


PHASE_NAMES = ("created", "node_ready", "vol_ready", "published")


def volume_names(row: VolumeRow) -> tuple[str, ...]:
    """The names a bare word is looked for in; how it fares (stuck, slow, unknown, moving, waiting, ok, gone) is one of them."""
    return (row.display_name, row.pv_name, row.driver, *row.node_names, *row.pods, row.severity.name.lower())


def _age(row: VolumeRow, now: int) -> float | None:
    return None if row.since is None else now - row.since


def _stuck(row: VolumeRow, now: int) -> float | None:
    return _age(row, now) if row.severity >= Severity.SLOW else None


def _phase(row: VolumeRow, now: int) -> float | None:
    """How far it came: 1 CREATED … 4 PUBLISHED, 0 nowhere yet."""
    return max(
        (number for number, status in enumerate(row.phases, 1) if status is StepStatus.DONE), default=0
    )


VOLUME_FIELDS: dict[str, Field[VolumeRow]] = {
    "ns": Field(Kind.TEXT, "namespace", lambda row: (row.namespace,)),
    "claim": Field(Kind.TEXT, "name of the claim", lambda row: (row.name,)),
    "pv": Field(Kind.TEXT, "name of the PersistentVolume", lambda row: (row.pv_name,)),
    "driver": Field(Kind.TEXT, "CSI driver", lambda row: (row.driver,)),
    "class": Field(Kind.TEXT, "StorageClass", lambda row: (row.storage_class,)),
    "node": Field(Kind.TEXT, "a node it is on or on its way to", lambda row: row.node_names),
    "pod": Field(Kind.TEXT, "a pod that uses it", lambda row: row.pods),
    "phase": Field(Kind.PHASE, "the furthest CSI state it reached", number=_phase),
    "stage": Field(Kind.TEXT, "Schedule, Provision, Attach, Mount …", lambda row: (row.stage,)),
    "finding": Field(Kind.TEXT, "what is wrong with it", lambda row: (row.finding,)),
    "stuck": Field(Kind.DURATION, "for how long it has been slow or stuck", number=_stuck),
    "age": Field(Kind.DURATION, "for how long it has stood at its step", number=_age),
    "ops": Field(Kind.NUMBER, "FUSE operations a second", number=lambda row, now: row.ops_per_second),
    "errors": Field(Kind.NUMBER, "FUSE operations that failed", number=lambda row, now: row.errors),
}
"""The fields of the list of volumes: help and completion are made from this table, too."""


COMPARE: dict[str, Callable[[float, float], bool]] = {
    ":": lambda left, right: left == right,
    "=": lambda left, right: left == right,
    ">": lambda left, right: left > right,
    ">=": lambda left, right: left >= right,
    "<": lambda left, right: left < right,
    "<=": lambda left, right: left <= right,
}
_UNITS = {"ms": MILLISECOND, "s": SECOND, "m": MINUTE, "h": HOUR, "d": DAY}
_DURATION = re.compile(r"(?:\d+(?:\.\d+)?(?:ms|[smhd]))+", re.ASCII)
_DURATION_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|[smhd])", re.ASCII)
_NUMBER = re.compile(r"\d+(?:\.\d+)?", re.ASCII)
_TOKEN = re.compile(
    r"""(?P<bracket>[()])
      | (?P<field>[^\s()":=<>]+)(?P<operator>[<>]=?|[:=])(?P<value>"[^"]*"|[^\s()"]*)
      | "(?P<quoted>[^"]*)"
      | (?P<word>[^\s()"]+)""",
    re.VERBOSE,
)
_KEYWORDS = ("and", "or", "not")
_DEPTH = 100


def tokenize(text: str) -> list[re.Match[str]]:
    """The words, brackets and `field:value` terms of an expression. Raises `FilterError`."""
    tokens: list[re.Match[str]] = []
    position = 0
    while True:
        while position < len(text) and text[position].isspace():
            position += 1
        if position == len(text):
            return tokens
        token = _TOKEN.match(text, position)
        if token is None:
            raise FilterError("this quote is never closed", position)
        tokens.append(token)
        position = token.end()


class _Parser(Generic[Row]):
    """Recursive descent over the tokens; the grammar is in the module's docstring, one method per rule."""

    def __init__(
        self,
        text: str,
        tokens: list[re.Match[str]],
        fields: Mapping[str, Field[Row]],
        names: Callable[[Row], tuple[str, ...]],
    ) -> None:
        self._text, self._tokens, self._fields, self._names = text, tokens, fields, names
        self._next = 0
        self._depth = 0

    def whole(self) -> Test[Row]:
        test = self._expression()
        if self._next < len(self._tokens):
            raise FilterError("this bracket closes nothing", self._tokens[self._next].start())
        return test

    def _expression(self) -> Test[Row]:
        tests = [self._conjunction()]
        while self._takes("or"):
            tests.append(self._conjunction())
        return tests[0] if len(tests) == 1 else lambda row, now: any(test(row, now) for test in tests)

    def _conjunction(self) -> Test[Row]:
        tests = [self._negation()]
        while self._takes("and") or self._peek() not in (None, "or", ")"):
            tests.append(self._negation())
        return tests[0] if len(tests) == 1 else lambda row, now: all(test(row, now) for test in tests)

    def _negation(self) -> Test[Row]:
        self._depth += 1
        if self._depth > _DEPTH:
            raise FilterError(f"more than {_DEPTH} levels of brackets and nots", self._position())
        try:
            if self._takes("not"):
                inner = self._negation()
                return lambda row, now: not inner(row, now)
            if self._peek() == "(":
                opened = self._position()
                self._next += 1
                inner = self._expression()
                if not self._takes(")"):
                    raise FilterError("this bracket is never closed", opened)
                return inner
            return self._term()
        finally:
            self._depth -= 1

    def _term(self) -> Test[Row]:
        word = self._peek()
        if word in ("and", "or", ")", None):
            found = f"found '{word}'" if word else "the filter ends"
            raise FilterError(f"a word or field:value is missing here: {found}", self._position())
        token = self._tokens[self._next]
        self._next += 1
        if token["field"]:
            return self._field_term(token)
        matches = _text_test(token["word"] or token["quoted"] or "")
        names = self._names
        return lambda row, now: any(matches(name) for name in names(row))

    def _field_term(self, token: re.Match[str]) -> Test[Row]:
        name, operator, value = token["field"].lower(), token["operator"], token["value"].strip('"')
        field = self._fields.get(name)
        if field is None:
            raise FilterError(f"no field '{name}'; there are {' '.join(self._fields)}", token.start())
        if not value:
            raise FilterError(f"'{name}{operator}' needs {field.kind.value} after it", token.end())
        if field.kind is Kind.TEXT:
            if operator not in (":", "="):
                raise FilterError(f"'{name}' is a text: write {name}:{value}", token.start("operator"))
            texts, matches = field.texts, _text_test(value, whole=operator == "=")
            return lambda row, now: any(matches(text) for text in texts(row) if text)
        number = field.number
        if value == "*" and operator == ":":
            return lambda row, now: number(row, now) is not None
        wanted = _READERS[field.kind](value)
        if wanted is None:
            raise FilterError(f"'{name}' takes {field.kind.value}, not '{value}'", token.start("value"))
        compare = COMPARE[operator]

        def test(row: Row, now: int) -> bool:
            known = number(row, now)
            return known is not None and compare(known, wanted)

        return test

    def _peek(self) -> str | None:
        """The next bracket or keyword as it is, any other token as "" (a term), None at the end."""
        if self._next == len(self._tokens):
            return None
        token = self._tokens[self._next]
        word = token["bracket"] or (token["word"] or "").lower()
        return word if token["bracket"] or word in _KEYWORDS else ""

    def _takes(self, word: str) -> bool:
        if self._peek() != word:
            return False
        self._next += 1
        return True

    def _position(self) -> int:
        return self._tokens[self._next].start() if self._next < len(self._tokens) else len(self._text)


def _text_test(wanted: str, whole: bool = False) -> Callable[[str], bool]:
    folded = wanted.casefold()
    if whole:
        return lambda text: text.casefold() == folded
    if "*" in folded:
        pattern = folded.replace("[", "[[]").replace("?", "[?]")
        return lambda text: fnmatchcase(text.casefold(), pattern)
    return lambda text: folded in text.casefold()


def read_duration(value: str) -> float | None:
    """`1m30s` in ns; None for what is no duration."""
    if not _DURATION.fullmatch(value):
        return None
    return sum(float(number) * _UNITS[unit] for number, unit in _DURATION_PART.findall(value))


def read_number(value: str) -> float | None:
    """None for what is no number."""
    return float(value) if _NUMBER.fullmatch(value) else None


def _phase_number(value: str) -> float | None:
    folded = value.casefold()
    return PHASE_NAMES.index(folded) + 1 if folded in PHASE_NAMES else None


_READERS: dict[Kind, Callable[[str], float | None]] = {
    Kind.NUMBER: read_number,
    Kind.DURATION: read_duration,
    Kind.PHASE: _phase_number,
}
