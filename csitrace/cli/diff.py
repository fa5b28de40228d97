"""`csitrace diff`: what got slower, faster or newly fails between two recordings."""

import argparse

from csitrace.cli.stats import add_sample_flags, ascii_only, read

DESCRIPTION = (
    "Tell what got slower, faster or newly fails from recording A to recording B, and nothing that chance makes as "
    "easily. Exit code 1: something got slower or fails more often."
)


def configure(parser: argparse.ArgumentParser) -> None:
    """Its arguments."""
    parser.add_argument("a", metavar="A", help="the recording to compare with")
    parser.add_argument("b", metavar="B", help="the recording that is compared")
    add_sample_flags(parser)


def run(arguments: argparse.Namespace) -> int:
    """Do it; returns the exit code."""
    from csitrace.lifecycle.comparison import compare
    from csitrace.lifecycle.samples import parse_sample_filter
    from csitrace.report.diff import DIFF_FORMS, DiffReport

    chosen = parse_sample_filter(arguments.filter)
    sides = [read([path]) for path in (arguments.a, arguments.b)]
    (title_a, _a), (title_b, _b) = sides
    kept = [[s for s in side.samples if chosen.matches(s, side.last_at)] for _, side in sides]
    by = tuple(dict.fromkeys(arguments.by))
    rows = compare(kept[0], kept[1], by, rough=arguments.whole_seconds)
    report = DiffReport(title_a, title_b, rows, by, arguments.filter, ascii_only(arguments.ascii))
    print(DIFF_FORMS[arguments.output or "table"](report), flush=True)
    return 1 if report.is_worse else 0
