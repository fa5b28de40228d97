"""argparse with kubectl's habits."""

import argparse
from collections.abc import Sequence
from typing import Any, NoReturn

EXIT_CODES = "exit codes: 0 done, 1 a finding or a failed wait, 2 wrong usage, 3 cannot reach or not allowed"


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
        self._is_intermixed = True  # what follows calls this method twice: for the flags, and for the words
        try:
            return self.parse_known_intermixed_args(args, namespace)
        finally:
            self._is_intermixed = False

    def error(self, message: str) -> NoReturn:
        """Say it in one line, and end with 2."""
        self.exit(2, f"{self.prog}: {message} (see {self.prog} --help)\n")
