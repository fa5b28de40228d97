"""The completer as a program: words in, candidates and a directive out. It never writes anything else, and never fails."""

import os
import sys
from collections.abc import Sequence

from csitrace.cli.completion.candidates import Offer, complete
from csitrace.cli.completion.lookup import names


def main() -> None:
    """`kubectl_complete-csitrace WORD …`: what kubectl asks at `kubectl csitrace WORD …<TAB>`."""
    answer(sys.argv[1:])


def answer(words: Sequence[str]) -> None:
    """Print the offer for the last word, and end the process: at once, whatever a look-up has left behind."""
    from csitrace.cli.program import build_parser

    offer = complete(build_parser("csitrace"), words, names)
    sys.stdout.write(printed(offer))
    sys.stdout.flush()
    os._exit(0)


def printed(offer: Offer) -> str:
    """A candidate a line, its description after a tab, and the directive."""
    lines = ["\t".join(part for part in candidate if part) for candidate in offer.candidates]
    return "\n".join([*lines, f":{int(offer.directive)}", ""])
