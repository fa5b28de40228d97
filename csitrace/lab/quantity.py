"""Kubernetes quantities of storage, to bytes and back."""

_FACTORS = {
    "": 1,
    "k": 10**3,
    "M": 10**6,
    "G": 10**9,
    "T": 10**12,
    "Ki": 1 << 10,
    "Mi": 1 << 20,
    "Gi": 1 << 30,
    "Ti": 1 << 40,
}
_BINARY = ("Ti", "Gi", "Mi", "Ki")


def parse_quantity(text: str) -> int:
    """Bytes of `64Mi`, `1G` or `1048576`. ValueError for what is no quantity."""
    digits = text.rstrip("kKMGTi")
    factor = _FACTORS.get(text[len(digits) :])
    if factor is None or not digits.isdecimal():
        raise ValueError(
            f"{text!r} is no quantity of storage: digits and one of {', '.join(filter(None, _FACTORS))}"
        )
    return int(digits) * factor


def format_quantity(size: int) -> str:
    """The shortest exact spelling in binary units, as the API server writes it."""
    for suffix in _BINARY:
        if size and size % _FACTORS[suffix] == 0:
            return f"{size // _FACTORS[suffix]}{suffix}"
    return str(size)
