"""`csitrace export`: a recording in the formats of other tools, with or without its names."""

import argparse
import os
import secrets
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from csitrace.cli.flags import add_filter_flag
from csitrace.cli.resources import RESOURCE_FIELDS, watch_filter
from csitrace.errors import TraceError, UsageError

if TYPE_CHECKING:
    from csitrace.export.redaction import Redaction
    from csitrace.lifecycle.chronicle import Chronicle
    from csitrace.lifecycle.views import VolumeRow
    from csitrace.model.events import TraceEvent
    from csitrace.sources.recording import Recording

DESCRIPTION = "Write a recording, or anything that can be imported, in a format of other tools."
TO = ("perfetto", "otlp", "html", "csv", "csv-steps", "json", "mermaid", "trace")
"""As in `csitrace.export.formats`, which is not loaded before it is used; and a trace again, for `--redact`."""

COLLECTORS = ("http://", "https://", "grpc://", "grpcs://")

NAMELESS = "recording"
"""What a redacted recording is called: file names tell names, too."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Its arguments."""
    parser.add_argument(
        "words",
        nargs="+",
        metavar="F|KIND/NAME",
        help="recordings; and which volumes: pvc/x, pod/y, pv/z, node/n, sc/c (default: all)",
    )
    parser.add_argument("--to", choices=TO, required=True, help="the format")
    parser.add_argument(
        "-o", "--output", default="-", metavar="OUT",
        help="a file, or a collector for --to otlp: http://host:4318, grpc://host:4317 (default: stdout)",
    )  # fmt: skip
    parser.add_argument(
        "--redact",
        choices=("names",),
        default="",
        help="replace names by tokens, so that it may leave the house",
    )
    parser.add_argument(
        "--redact-key", default="", metavar="KEY",
        help="the same key gives the same tokens, @FILE reads it (default: one of its own each time)",
    )  # fmt: skip
    parser.add_argument("-n", "--namespace", default="", metavar="NS", help="only volumes of this namespace")
    add_filter_flag(parser)


def run(arguments: argparse.Namespace) -> int:
    """Do it; returns the exit code."""
    from csitrace.sources.recording import open_recording

    files, resources = sort_words(arguments.words)
    if not files:
        raise UsageError(
            f"{arguments.words[0]}: no such file; name a recording, e.g. csitrace export x.csitrace"
        )
    wanted = watch_filter(arguments.namespace, resources, arguments.filter)
    key = _key(arguments.redact_key) if arguments.redact else b""
    return export(open_recording(files), arguments.to, arguments.output, wanted, key)


def export(recording: "Recording", to: str, output: str, wanted: str = "", key: bytes = b"") -> int:
    """Write a recording as `to` says. `wanted`: a filter; `key`: of the redaction, none without one. Returns the exit code, 1
    where no volume fits."""
    is_address = output.startswith(COLLECTORS)
    if is_address and to != "otlp":
        raise UsageError(f"{output} is a collector's address: only --to otlp is sent to one")
    if to == "trace":
        return _trace(recording, output, wanted, key)
    from csitrace.export.formats import FORMATS

    form = FORMATS[to]
    if not form.is_text and output == "-" and sys.stdout.isatty():
        raise UsageError(f"--to {to} is not for terminals: name a file with -o")
    told = _chronicle(recording, wanted, key)
    for note in recording.notes:
        print(note, file=sys.stderr)
    if wanted and not told.lives:
        print(f"no volume of {recording.title} fits", file=sys.stderr)
        return 1
    if is_address:
        from csitrace.cli.collector import send
        from csitrace.export.otlp import requests

        send(requests(told), output)
    else:
        write(form.render(told), output)
    return 0


def sort_words(words: Sequence[str]) -> tuple[list[Path], list[str]]:
    """What of these are files, and what names objects: `pvc/x` is no file unless there is one."""
    files: list[Path] = []
    resources: list[str] = []
    for word in words:
        kind = word.partition("/")[0].lower().partition(".")[0]
        named = kind in RESOURCE_FIELDS and not Path(word).exists()
        if named or (resources and "/" not in resources[-1] and not Path(word).exists()):
            resources.append(word)
        else:
            files.append(Path(word))
    return files, resources


def write(chunks: Iterable[bytes], output: str) -> None:
    """To a file that only its owner may read, or to stdout for `-`. Raises `TraceError`."""
    if output == "-":
        for chunk in chunks:
            sys.stdout.buffer.write(chunk)
        sys.stdout.buffer.flush()
        return
    try:
        descriptor = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.writelines(chunks)
    except OSError as error:
        raise TraceError(f"cannot write {output}: {error.strerror}; name another file with -o") from error


def _chronicle(recording: "Recording", wanted: str, key: bytes) -> "Chronicle":
    from csitrace.lifecycle.chronicle import chronicle
    from csitrace.lifecycle.filter import parse_volume_filter

    chosen: Callable[[VolumeRow, int], bool] | None = None
    if wanted:
        chosen = parse_volume_filter(wanted).matches
    if not key:
        told = chronicle(recording.events, recording.title, chosen)
        return _with_notes(told, recording.notes)
    events, redaction = _redacted(recording, key)
    if chosen is not None:  # by the names that the user knows
        keys = {redaction.text(life.key) for life in chronicle(events, "", chosen).lives}
        chosen = lambda row, now: row.key in keys  # noqa: E731
    return chronicle(map(redaction.event, events), NAMELESS, chosen)


def _with_notes(told: "Chronicle", notes: Sequence[str]) -> "Chronicle":
    from dataclasses import replace

    return replace(told, notes=tuple(notes))


def _redacted(recording: "Recording", key: bytes) -> "tuple[list[TraceEvent], Redaction]":
    from csitrace.export.names import names_of
    from csitrace.export.redaction import Redaction

    events = list(recording.events)
    return events, Redaction(names_of(events), key)


def _trace(recording: "Recording", output: str, wanted: str, key: bytes) -> int:
    if wanted:
        raise UsageError("--to trace keeps every event: it takes neither objects nor --filter nor -n")
    if output == "-":
        raise UsageError("--to trace needs a file: name it with -o")
    from csitrace.trace.writer import write_trace

    events: Iterable[TraceEvent] = recording.events
    title = recording.title
    if key:
        told, redaction = _redacted(recording, key)
        events, title = map(redaction.event, told), NAMELESS
    write_trace(Path(output), title, events)
    for note in recording.notes:
        print(note, file=sys.stderr)
    return 0


def _key(given: str) -> bytes:
    if given.startswith("@"):
        try:
            return Path(given[1:]).read_bytes().strip()
        except OSError as error:
            raise UsageError(f"--redact-key {given}: {error.strerror}") from error
    return given.encode("utf-8", "surrogateescape") or secrets.token_bytes(32)
