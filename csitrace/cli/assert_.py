"""`csitrace assert`: whether what has to hold of a recording does, for the CI of drivers."""

import argparse
from pathlib import Path

from csitrace.errors import FilterError, UsageError

DESCRIPTION = (
    "Check a recording: 'max(attach) < 10s', 'p95(stage, class:fast) <= 2s', 'count(provision) == 3', 'no finding error' (in the "
    "end; with a last word 'ever', at any moment), 'no anomaly'. Exit code 1: one of them does not hold; each violation is a "
    "line with the volume, the value and the fact."
)


def configure(parser: argparse.ArgumentParser) -> None:
    """Its arguments."""
    parser.add_argument(
        "words",
        nargs="+",
        metavar="PATH… EXPR",
        help="the recording's files, then what is to hold; a word is a file where there is one of that name",
    )
    parser.add_argument("--filter", default="", metavar="EXPR", help="only these volumes, e.g. 'class:fast'")


def run(arguments: argparse.Namespace) -> int:
    """Do it; returns the exit code."""
    from csitrace.lifecycle.assertion import parse_assertion
    from csitrace.lifecycle.filter import parse_volume_filter
    from csitrace.report.assertions import check_recording
    from csitrace.sources.recording import open_recording

    paths, texts = split(arguments.words)
    parse_volume_filter(arguments.filter)
    assertions = []
    for text in texts:
        try:
            assertions.append(parse_assertion(text, arguments.filter))
        except FilterError as error:
            raise UsageError(f"{text!r}, character {error.position + 1}: {error}") from None
    return check_recording(open_recording(paths), assertions)


def split(words: list[str]) -> tuple[list[Path], list[str]]:
    """Files first, then assertions: the first word is a file, and so is each after it as long as there is one of that name.
    Raises UsageError."""
    if not Path(words[0]).exists() and any(Path(word).exists() for word in words[1:]):
        raise UsageError(f"{words[0]!r} is no file: files come first, then what is to hold of them")
    count = 1
    while count < len(words) and Path(words[count]).exists():
        count += 1
    if count == len(words):
        raise UsageError("say what is to hold of it, e.g. 'max(attach) < 10s' or 'no finding error'")
    return [Path(word) for word in words[:count]], words[count:]
