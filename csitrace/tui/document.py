"""The text of docs/keys.md: `python -m csitrace.tui.document > docs/keys.md`."""

from csitrace.tui.keys import Scope, keys_of
from csitrace.tui.legend import LEGEND


def markdown() -> str:
    """Keys and signs, from the tables that define them."""
    parts = ["# Keys and signs of the watch screen\n"]
    for scope in Scope:
        rows = "\n".join(f"| `{key.shown}` | {key.meaning} |" for key in keys_of(scope))
        parts.append(f"\n## {scope}\n\n| key | does |\n|---|---|\n{rows}\n")
    parts.append(
        "\nThe mouse works, too: a click moves the cursor, a double click opens, the wheel scrolls, panes and keys in the "
        "footer can be clicked.\n"
    )
    for heading, signs in LEGEND:
        rows = "\n".join(f"| `{sign}` | {meaning} |" for (sign, _), meaning in signs)
        parts.append(f"\n## {heading}\n\n| sign | means |\n|---|---|\n{rows}\n")
    return "".join(parts)


if __name__ == "__main__":
    print(markdown(), end="")
