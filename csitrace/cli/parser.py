"""argparse with kubectl's habits."""

import argparse
import re
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

EXIT_CODES = "exit codes: 0 done, 1 a finding or a failed wait, 2 wrong usage, 3 cannot reach or not allowed"


_BELOW_ZERO = re.compile(r"-\d")


class Parser(argparse.ArgumentParser):
    """A command's parser: flags stand anywhere among the words (`watch pvc -n shop data`), have no abbreviations, and what is
    wrong with them is said in one line."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"allow_abbrev": False, "epilog": EXIT_CODES, **options})
        self._is_intermixed = False

    def parse_known_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> tuple[argparse.Namespace, list[str]]:
        """As argparse; where there are no sub-commands, flags and words may be mixed."""
        if self._subparsers is not None or self._is_intermixed:
            return super().parse_known_args(args, namespace)
        given = sys.argv[1:] if args is None else args
        self._is_intermixed = True  # what follows calls this method twice: for the flags, and for the words
        try:
            return self.parse_known_intermixed_args(_with_values(given), namespace)
        finally:
            self._is_intermixed = False

    def error(self, message: str) -> NoReturn:
        """Say it in one line, and end with 2."""
        self.exit(2, f"{self.prog}: {message} (see {self.prog} --help)\n")


def _with_values(words: Sequence[str]) -> list[str]:
    """`--at -30s` as `--at=-30s`: argparse takes for a flag what begins with a minus, and none of ours goes on with a digit."""
    joined: list[str] = []
    for word in words:
        if _BELOW_ZERO.match(word) and joined and joined[-1].startswith("--") and "=" not in joined[-1]:
            joined[-1] += f"={word}"
        else:
            joined.append(word)
    return joined
