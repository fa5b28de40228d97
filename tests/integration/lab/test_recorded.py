"""A recording of the lab that nobody ended, on the screen again."""

import sys
from pathlib import Path

from tests.terminal import Terminal
from tests.tour import ONE_OF_EACH, expect, hold_at, mark, pictures

_IN_USE = "● ● ● ●"


def test_a_recording_that_was_killed_shows_the_same_screens(mounts_allowed: None, tmp_path: Path) -> None:
    """`demo` records since `r`, is scrolled back to a mark, and killed with SIGKILL: at that mark `replay` shows what it showed,
    lists and details, of volumes, nodes and drivers."""
    csitrace = [sys.executable, "-m", "csitrace"]
    with Terminal(tmp_path, [*csitrace, "demo"]) as live:
        live.until("the lab", lambda screen: "LIVE" in screen[0])
        live.press("r")
        live.until("that it records", lambda screen: "REC" in screen[0])
        live.until("a volume in use", lambda screen: any(_IN_USE in line for line in screen))
        mark(live, "noon")
        hold_at(live, "noon")
        seen = pictures(live, ONE_OF_EACH)
        live.kill()
    (recording,) = tmp_path.glob("*.csitrace")
    with Terminal(tmp_path, [*csitrace, "replay", str(recording), "--at", "noon"]) as replayed:
        expect(replayed, ONE_OF_EACH, seen)
