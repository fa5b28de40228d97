import json
import os
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import pytest

from csitrace.export.page import html
from csitrace.lifecycle.chronicle import chronicle
from tests.fleet import fleet
from tests.unit.export.browser import Browser, browser, missing
from tests.unit.export.told import HOSTILE, of, renamed, stuck, whole_life


class Reader(HTMLParser):
    """The tags of a page with their attributes, in order."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def _hostile() -> str:
    told = chronicle(renamed(stuck(HOSTILE), {"data": f"da{HOSTILE}ta", "n1": f"<b>{HOSTILE}"}), HOSTILE)
    return b"".join(html(told)).decode()


def test_no_text_of_a_recording_becomes_markup() -> None:
    """Hostile names, messages and titles add no tag and no attribute, and no sign that steers."""
    page = Reader(_hostile())
    assert len(page.all("script")) == 1
    assert not page.all("img")
    assert not page.all("b")
    assert not [name for _, attributes in page.tags for name in attributes if name.startswith("on")]
    assert "\u202e" not in _hostile()
    assert "\x1b" not in _hostile()


def test_the_page_names_nothing_outside_itself() -> None:
    """No address but fragments, no style attribute, and a policy that forbids the rest."""
    page = Reader(b"".join(html(of(whole_life()))).decode())
    assert not page.all("link")
    assert all((a.get("href") or "#").startswith("#") for a in page.all("a"))
    assert not [a for _, a in page.tags if "src" in a or "style" in a]
    policy = next(a["content"] for a in page.all("meta") if a.get("http-equiv") == "Content-Security-Policy")
    assert policy is not None
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert "unsafe" not in policy


def test_it_is_built_for_a_screen_reader() -> None:
    """One main, one h1, tables with captions and scoped heads, pictures with a text, fields with labels, ids that are unique."""
    page = Reader(b"".join(html(of(whole_life()))).decode())
    assert len(page.all("main")) == len(page.all("h1")) == 1
    assert page.all("html")[0]["lang"] == "en"
    assert len(page.all("caption")) == len(page.all("table"))
    assert all(a.get("scope") in ("col", "row") for a in page.all("th"))
    assert all(a.get("role") == "img" and a.get("aria-label") for a in page.all("svg"))
    labels = {a["for"] for a in page.all("label")}
    assert {a["id"] for a in (*page.all("input"), *page.all("select"))} == labels
    ids = [a["id"] for _, a in page.tags if "id" in a]
    assert len(ids) == len(set(ids))


@pytest.fixture
def chromium(tmp_path: Path) -> Iterator[Browser]:
    if what := missing():
        assert not os.environ.get("CI"), f"{what} must be there: make test installs it"
        pytest.skip(f"{what} is not there; make test installs it")
    with browser(tmp_path / "profile") as found:
        yield found


def _shown(chromium: Browser) -> int:
    shown: int = chromium.run("return document.querySelectorAll('#events tbody tr:not([hidden])').length")
    return shown


def _ground(chromium: Browser) -> str:
    ground: str = chromium.run("return getComputedStyle(document.body).backgroundColor")
    return ground


@pytest.mark.timeout(300)
def test_in_a_real_browser(chromium: Browser, tmp_path: Path) -> None:
    """Search and choice of a volume work by keyboard, the theme follows the system and the button, nothing is complained of and
    no request leaves the page; hostile names do nothing."""
    page = tmp_path / "page.html"
    page.write_bytes(b"".join(html(chronicle(fleet().events, "fleet.csitrace"))))
    chromium.prefer("light")
    chromium.open(page)
    everything = _shown(chromium)
    assert everything > 20
    chromium.press("/")
    assert chromium.run("return document.activeElement.id") == "search"
    chromium.press("mounted")
    found = _shown(chromium)
    assert 0 < found < everything
    assert chromium.run("return document.getElementById('count').value") == f"{found} of {everything} events"
    chromium.press("\ue00c")  # Escape
    assert _shown(chromium) == everything
    chromium.run(
        "const of = document.getElementById('of-volume'); of.selectedIndex = 1; of.dispatchEvent(new Event('input'))"
    )
    assert 0 < _shown(chromium) < everything

    page.write_bytes(b"".join(html(of(stuck(), "incident-42.csitrace"))))
    chromium.open(page)
    light = _ground(chromium)
    chromium.prefer("dark")
    dark = _ground(chromium)
    assert dark != light
    chromium.run("document.getElementById('theme').click()")
    assert _ground(chromium) == light
    assert chromium.run("return document.getElementById('theme').getAttribute('aria-pressed')") == "false"
    assert chromium.run("return document.documentElement.scrollWidth <= innerWidth")

    page.write_text(_hostile(), encoding="utf-8")
    chromium.open(page)
    assert chromium.run("return document.scripts.length") == 1
    assert [line for line in chromium.log("browser") if line["level"] in ("SEVERE", "WARNING")] == []
    requested = [
        message["params"]["request"]["url"]
        for line in chromium.log("performance")
        if (message := json.loads(line["message"])["message"])["method"] == "Network.requestWillBeSent"
    ]
    assert requested
    assert all(re.match(r"(file|data|chrome):", url) for url in requested), requested
