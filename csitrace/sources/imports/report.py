"""What was understood of a file, and what was not, with counts."""

from collections import Counter
from dataclasses import dataclass, field

_KINDS_TOLD = 12
_FAULTS_TOLD = 5
_LONGEST = 120

_SINGULAR = {"calls": "call", "ends of calls": "end of a call", "mounts": "mount"}


@dataclass
class Report:
    """One file's. `form`: as what it was read; `remarks`: what a reader should know, such as where a time was taken from."""

    name: str
    form: str = ""
    understood: Counter[str] = field(default_factory=Counter)
    skipped: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    remarks: list[str] = field(default_factory=list)

    def count(self, what: str, many: int = 1) -> None:
        self.understood[what] += many

    def skip(self, what: str, many: int = 1) -> None:
        """Something that is well-formed and of no use here."""
        what = what[:_LONGEST]
        key = what if what in self.skipped or len(self.skipped) < 1_000 else "others"
        self.skipped[key] += many

    def fault(self, what: str) -> None:
        """Something that should have been readable, and was not."""
        what = what[: 3 * _LONGEST]
        key = what if what in self.faults or len(self.faults) < 100 else "other faults"
        self.faults[key] += 1

    def lines(self) -> list[str]:
        """One line of what was read, then one for each fault and remark."""
        read = _list(self.understood) or "nothing"
        left = _list(self.skipped)
        lines = [f"{self.name}: {self.form}: {read}" + (f"; not used: {left}" if left else "")]
        faults = self.faults.most_common(_FAULTS_TOLD)
        lines += [f"{self.name}: {text}" + (f" ({many} times)" if many > 1 else "") for text, many in faults]
        if len(self.faults) > _FAULTS_TOLD:
            lines.append(f"{self.name}: {len(self.faults) - _FAULTS_TOLD} more kinds of faults")
        return lines + [f"{self.name}: {remark}" for remark in self.remarks]


def _list(counts: Counter[str]) -> str:
    told = [
        f"{many} {_SINGULAR.get(what, what) if many == 1 else what}"
        for what, many in counts.most_common(_KINDS_TOLD)
    ]
    rest = sum(counts.values()) - sum(many for _, many in counts.most_common(_KINDS_TOLD))
    return ", ".join(told) + (f", {rest} more" if rest else "")


def printable(text: str) -> str:
    """Text of a file, such as a name in an archive, for a line on a terminal: without control characters."""
    return "".join(char if char.isprintable() else " " for char in text)
