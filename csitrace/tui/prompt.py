"""A line to type something into, over the footer: a mark's name, a time to go to. What is shown above goes on."""

from collections.abc import Callable

from textual import events
from textual.app import ComposeResult
from textual.containers import Horizontal
from textual.widget import Widget
from textual.widgets import Input, Label


class Prompt(Horizontal):
    """Hidden until `ask`. Enter takes what was typed, Esc nothing; both give the keys back to who had them."""

    DEFAULT_CSS = """
    Prompt {
        height: 1; display: none; background: $surface;
        & Label { padding: 0 1; text-style: bold; }
        & Input { width: 1fr; background: $surface; }
    }
    """

    def __init__(self) -> None:
        super().__init__(id="prompt")
        self._take: Callable[[str], None] = lambda text: None
        self._had_keys: Widget | None = None

    def compose(self) -> ComposeResult:
        yield Label()
        yield Input(select_on_focus=False, compact=True)

    def ask(self, question: str, example: str, take: Callable[[str], None]) -> None:
        """Let the user type; `take` gets what it was, without blanks around it."""
        self._take = take
        if not self.display:
            self._had_keys = self.screen.focused
        self.display = True
        self.query_one(Label).update(question)
        field = self.query_one(Input)
        field.value, field.placeholder = "", example
        field.focus()

    def _close(self) -> None:
        self.display = False
        if self._had_keys is not None and self._had_keys.is_mounted:
            self._had_keys.focus()

    def _on_input_changed(self, event: Input.Changed) -> None:
        event.stop()

    def _on_input_submitted(self, event: Input.Submitted) -> None:
        event.stop()
        self._close()
        self._take(event.value.strip())

    async def _on_key(self, event: events.Key) -> None:
        if event.key == "escape":
            event.stop()
            event.prevent_default()
            self._close()
