"""Texts of a recording, made harmless for a page."""

from html import escape


def plain(text: str) -> str:
    """Escaped, for between tags and for attributes; signs that steer or that no page may hold are replaced."""
    shown = (
        text
        if text.isprintable()
        else "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)
    )
    return escape(shown, quote=True)
