"""The pictures of this directory, from a real run: `make screenshots`.

    python -m screenshots.render [--seconds N] [--only NAME …] [--scenario NAME]

The demo (embedded control plane, reference driver, real FUSE mounts) runs without a screen while its facts are taken in, once
for each scenario that a picture is of. Each picture is then one moment of that history, on a terminal of one size, after some
keys.
"""

import argparse
import asyncio
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from textual.pilot import Pilot

from csitrace.cli.hearing import local_sources
from csitrace.engine.merge import merge
from csitrace.engine.replay import replay_session
from csitrace.engine.session import Session
from csitrace.export.page import html
from csitrace.lab.demo import enter, running_lab
from csitrace.lab.sandbox import Sandbox
from csitrace.lifecycle.chronicle import chronicle
from csitrace.lifecycle.history import History
from csitrace.lifecycle.rowcache import RowCache
from csitrace.lifecycle.views import Severity, VolumeRow
from csitrace.model.times import SECOND
from csitrace.sources import Source
from csitrace.sources.kubernetes.config import ConnectionOptions
from csitrace.sources.kubernetes.source import KubernetesSource
from csitrace.tui.app import CsitraceApp
from csitrace.tui.hints import DEMO_HINTS
from csitrace.tui.session_view import SessionView
from csitrace.tui.volume import VolumeScreen
from tests.unit.export.browser import browser

DIRECTORY = Path(__file__).parent
FONT = "DejaVu Sans Mono"
SMALL, LARGE = (80, 24), (140, 40)

Worth = Callable[[Sequence[VolumeRow]], float]
"""How well a moment suits a picture; 0: not at all."""


def variety(rows: Sequence[VolumeRow]) -> float:
    """Something stuck, something moving, some in use with operations."""
    stuck = min(sum(row.severity is Severity.STUCK for row in rows), 2)
    moving = min(sum(row.severity is Severity.MOVING for row in rows), 2)
    busy = min(sum(bool(row.ops_per_second) for row in rows), 5)
    return stuck * 3.0 + moving * 2.0 + busy if stuck and busy else 0.0


def refused(row: VolumeRow) -> bool:
    return row.severity is Severity.STUCK and row.step_id in ("13", "16a", "16b")


def busy(row: VolumeRow) -> bool:
    return row.severity is Severity.OK and bool(row.ops_per_second)


def worst_age(rows: Sequence[VolumeRow]) -> float:
    """The longer something has been refused, the more there is to tell."""
    return max((1.0 - 1e-18 * (row.since or 0) for row in rows if refused(row)), default=0.0) * len(rows)


def at_work(rows: Sequence[VolumeRow]) -> float:
    """Any moment with one in use; the latest has the longest past."""
    return float(any(busy(row) for row in rows))


def several_nodes(rows: Sequence[VolumeRow]) -> float:
    """A volume in use on two nodes."""
    return float(any(len(row.node_names) > 1 and busy(row) for row in rows))


@dataclass(frozen=True)
class Picture:
    """One picture: the moment of a scenario that suits it best, the volume to open (None: the list), the keys to press then.
    `replayed`: as a recording that was put there."""

    name: str
    size: tuple[int, int]
    worth: Worth
    volume: Callable[[VolumeRow], bool] | None = None
    keys: tuple[str, ...] = ()
    scenario: str = "mixed"
    replayed: bool = False


PICTURES = (
    Picture("list", LARGE, variety),
    Picture("list-80x24", SMALL, variety),
    Picture("stuck-80x24", SMALL, worst_age, refused),
    Picture("why", LARGE, worst_age, refused),
    Picture("steps", LARGE, worst_age, refused, ("2",)),
    Picture("witnesses", LARGE, at_work, busy, ("3",)),
    Picture("fuse", LARGE, at_work, busy, ("4",)),
    Picture("events", LARGE, worst_age, refused, ("5",)),
    Picture("drivers", LARGE, worst_age, keys=("D",)),
    Picture("driver", LARGE, several_nodes, keys=("D", "enter"), scenario="shared"),
    Picture("driver-80x24", SMALL, several_nodes, keys=("D", "enter"), scenario="shared"),
    Picture("nodes", LARGE, several_nodes, keys=("N",), scenario="shared"),
    Picture("node-80x24", SMALL, worst_age, keys=("N", "enter")),
    Picture("replay", LARGE, worst_age, refused, replayed=True),
    Picture("shared", LARGE, several_nodes, lambda row: len(row.node_names) > 1, ("2",), "shared"),
)

OF_PAGES = "mixed"
PAGES = {"html-light": "light", "html-dark": "dark"}
"""Pictures of the HTML page of that scenario, in the colours that the user's system prefers."""


async def record(sandbox: Sandbox, scenario: str, seconds: float) -> History:
    """The facts of a demo that runs for so long."""
    async with running_lab(sandbox, scenario) as lab:
        cluster = await KubernetesSource.open(ConnectionOptions(kubeconfig=lab.ready.kubeconfig))
        sources: list[Source] = [
            cluster,
            *local_sources([(node.kubelet_root, node.name) for node in lab.ready.nodes], []),
        ]
        session = Session("recorder")
        try:
            async with asyncio.timeout(seconds):
                await session.run(merge(sources))
        except TimeoutError:
            pass
        return session.history


def best_moment(history: History, worth: Worth) -> int:
    """The seq at which `worth` is greatest, looking four times a second; the latest of equals."""
    cache, best, at = RowCache(), (0.0, history.tail_seq), 0
    for event in history.events(1, history.tail_seq):
        if event.observed_at - at < SECOND // 4:
            continue
        at = event.observed_at
        found = worth(cache.rows(history.state_at(event.seq), at))
        best = max(best, (found, event.seq))
    return best[1]


def session_at(history: History, scenario: str, seq: int) -> Session:
    """A session that is live at the moment of event `seq`."""
    past = History()
    for event in history.events(1, seq):
        past.append(event)
    at = past.tail.at
    return Session(f"demo {scenario}", lambda: at, past)


def replay_at(history: History, scenario: str, seq: int) -> Session:
    """A recording of it all, held at event `seq`."""
    session = replay_session(f"{scenario}.csitrace")
    session.load(history.kept())
    session.loaded()
    session.seek(seq)
    return session


async def draw(history: History, picture: Picture) -> str:
    """The picture as SVG."""
    put_at = replay_at if picture.replayed else session_at
    view = SessionView(put_at(history, picture.scenario, best_moment(history, picture.worth)))
    app = CsitraceApp(view, hint="" if picture.replayed else DEMO_HINTS[picture.scenario])
    async with app.run_test(size=picture.size) as pilot:
        await painted(app, pilot)
        if picture.volume is not None:
            row = next(row for row in view.overview().rows if picture.volume(row))
            await app.push_screen(VolumeScreen(view, row.key))
        await pilot.press(*picture.keys)
        await painted(app, pilot)
        return app.export_screenshot(title=f"csitrace demo  {picture.size[0]}x{picture.size[1]}")


async def painted(app: CsitraceApp, pilot: "Pilot[None]") -> None:
    await pilot.pause()
    while app.frames.pending:
        await pilot.pause(0.01)


def draw_pages(history: History, names: Collection[str]) -> Iterator[str]:
    """Pictures of the page that `csitrace export --to html` makes of the whole history, in a real browser."""
    events = history.events(1, history.tail_seq)
    with tempfile.TemporaryDirectory() as directory:
        page = Path(directory) / "demo.html"
        page.write_bytes(b"".join(html(chronicle(events, "demo.csitrace"))))
        with browser(Path(directory) / "profile") as chromium:
            for name in names:
                chromium.prefer(PAGES[name])
                chromium.open(page)
                (DIRECTORY / f"{name}.png").write_bytes(chromium.picture())
                yield name


def to_png(svg: str, path: Path) -> None:
    """The SVG with a font that is installed, and its blanks kept, as PNG."""
    svg = re.sub(r"@font-face\s*{.*?}", "", svg, flags=re.DOTALL)
    svg = svg.replace("Fira Code", FONT).replace("<text ", '<text xml:space="preserve" ')
    subprocess.run(["rsvg-convert", "--width", "1200", "--output", path], input=svg.encode(), check=True)


async def main(
    sandbox: Sandbox, scenario: str, seconds: float, pictures: Sequence[Picture], pages: Collection[str]
) -> None:
    history = await record(sandbox, scenario, seconds)
    for picture in pictures:
        to_png(await draw(history, picture), DIRECTORY / f"{picture.name}.png")
        print(f"screenshots/{picture.name}.png", flush=True)
    for name in draw_pages(history, pages) if pages else ():
        print(f"screenshots/{name}.png", flush=True)


def each_scenario(wanted: Iterable[str], arguments: Sequence[str]) -> int:
    """Each in a process, and so in a sandbox, of its own."""
    codes = [
        subprocess.run(
            [sys.executable, "-m", "screenshots.render", *arguments, "--scenario", scenario], check=False
        ).returncode
        for scenario in dict.fromkeys(wanted)
    ]
    return max(codes, default=0)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=30.0, help="how long the demo runs (default: 30)")
    parser.add_argument("--only", nargs="*", default=[], metavar="NAME")
    parser.add_argument("--scenario", default="", help="only pictures of this scenario of the demo")
    given = parser.parse_args()
    asked = [picture for picture in PICTURES if not given.only or picture.name in given.only]
    if not given.scenario:
        wanted = [picture.scenario for picture in asked] + [OF_PAGES for name in PAGES if name in given.only]
        sys.exit(each_scenario(wanted, sys.argv[1:]))
    os.environ.pop("NO_COLOR", None)
    inside = enter()  # forks, so before any thread or loop is there
    if inside.missing:
        print(f"screenshots: {inside.missing}", file=sys.stderr)
    of_scenario = [picture for picture in asked if picture.scenario == given.scenario]
    pages = (
        [name for name in PAGES if not given.only or name in given.only] if given.scenario == OF_PAGES else []
    )
    asyncio.run(main(inside, given.scenario, given.seconds, of_scenario, pages))
