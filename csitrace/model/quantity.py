"""Sizes as the API server spells them (Kubernetes API reference, "Quantity")."""

import re
from fractions import Fraction

_QUANTITY = re.compile(
    r"(?P<number>\d+(?:\.\d*)?|\.\d+)(?:[eE](?P<exponent>[+-]?\d{1,2})|(?P<suffix>[KMGTPE]i|[kMGTPE]|m)?)$"
)
_DECIMAL, _BINARY = "kMGTPE", "KMGTPE"


def size_of(text: str) -> int | None:
    """Bytes of `64Mi`, `1.5G` or `1e9`, rounded up; None for what is no quantity."""
    match = _QUANTITY.match(text)
    if match is None:
        return None
    return -int(-Fraction(match["number"]) * _factor(match["suffix"] or "", match["exponent"]) // 1)


def _factor(suffix: str, exponent: str | None) -> Fraction:
    if exponent is not None:
        return Fraction(10) ** int(exponent)
    if suffix.endswith("i"):
        return Fraction(1024) ** (_BINARY.index(suffix[0]) + 1)
    if suffix == "m":
        return Fraction(1, 1000)
    return Fraction(1000) ** (_DECIMAL.index(suffix) + 1) if suffix else Fraction(1)
