"""A widget whose lines have tones: component classes for each tone, and lines turned into strips."""

from typing import ClassVar

from rich.segment import Segment
from rich.style import Style
from textual.scroll_view import ScrollView
from textual.strip import Strip

from csitrace.tui.lines import Line, Tone, fit


class TonedView(ScrollView):
    """Draws lines by hand, so that only what is visible costs anything. What is drawn is up to the subclass."""

    ALLOW_SELECT = False
    COMPONENT_CLASSES: ClassVar[set[str]] = {f"tone--{tone}" for tone in Tone}
    DEFAULT_CSS = """
    TonedView {
        overflow-x: hidden;
        scrollbar-size-vertical: 1;
        & > .tone--strong { text-style: bold; }
        & > .tone--dim { color: $text-muted; }
        & > .tone--good { color: $text-success; }
        & > .tone--moving { color: $text-accent; }
        & > .tone--bad { color: $text-error; text-style: bold; }
        & > .tone--unknown { color: $text-warning; }
        & > .tone--title { color: $text-primary; text-style: bold; }
    }
    """

    def notify_style_update(self) -> None:
        self._tone_styles = None
        super().notify_style_update()

    _tone_styles: dict[Tone, Style] | None = None

    @property
    def tone_styles(self) -> dict[Tone, Style]:
        """What the theme gives each tone; looked up once per theme, because it is needed for every cell."""
        styles = self._tone_styles
        if styles is None:
            styles = {tone: self._tone_style(tone) for tone in Tone}
            self._tone_styles = styles
        return styles

    def _tone_style(self, tone: Tone) -> Style:
        name = f"tone--{tone}"
        blended = self.get_component_rich_style(
            name
        ).color  # a partial style would ignore the colour's transparency
        return self.get_component_rich_style(name, partial=True) + Style(color=blended)

    def strip(self, spans: Line, width: int, over: Style | None = None) -> Strip:
        """The line in exactly `width` cells. `over` is laid over everything (the cursor)."""
        styles, base = self.tone_styles, self.rich_style
        segments = [Segment(text, base + styles[tone] + over) for text, tone in fit(spans, width)]
        return Strip(segments, width)
