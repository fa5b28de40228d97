"""The one table of keys: bindings, footer, help, palette and docs/keys.md are made from it."""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from textual.binding import Binding, BindingType


class Scope(StrEnum):
    """Where a key works."""

    EVERYWHERE = "Everywhere"
    TABLE = "In every list and text"
    VOLUMES = "List of volumes"
    VOLUME = "One volume"
    DRIVERS = "List of drivers"
    DRIVER = "One driver"
    NODES = "List of nodes"
    NODE = "One node"


@dataclass(frozen=True, slots=True)
class Key:
    """`keys`: Textual's names, with commas; `shown`: what people call them; `label`: the footer's word, empty: not in it;
    `held`: the same while the screen is paused; `replay`: in a replay, where it is not as `held`; `playing`: while that plays;
    `spare`: only where the footer has room, those with the least first."""

    scope: Scope
    keys: str
    shown: str
    action: str
    meaning: str
    label: str = ""
    held: str = ""
    replay: str = ""
    playing: str = ""
    spare: int = 0


def _list_keys(scope: Scope, noun: str, orders: str) -> tuple[Key, ...]:
    return (
        Key(scope, "enter", "Enter", "open", f"open the {noun} under the cursor", "open", "open"),
        Key(
            scope,
            "slash",
            "/",
            "filter",
            "filter the list; Esc in the filter takes the change back",
            "filter",
        ),
        Key(scope, "escape,backspace", "Esc", "back", "undo the filter, or back", "back", "back"),
        Key(
            scope,
            "v",
            "v",
            "volumes",
            f"list the volumes of the {noun} under the cursor",
            "volumes",
            "volumes",
        ),
        Key(
            scope,
            "n",
            "n",
            "next_problem",
            f"go to the next {noun} with something wrong or unknown",
            "problem",
            spare=2,
        ),
        Key(scope, "s", "s", "sort", f"sort by the next of: {orders}", "sort", spare=3),
    )


def _place_keys(scope: Scope, noun: str, other: str) -> tuple[Key, ...]:
    return (
        Key(scope, "escape,backspace", "Esc", "back", "back", "back", "back"),
        Key(scope, "enter", "Enter", "open", f"open the {other} under the cursor", other, other),
        Key(scope, "v", "v", "volumes", f"list the volumes of this {noun}", "volumes", "volumes"),
        Key(scope, "tab", "Tab", "part", "the next part of the screen gets the arrow keys", "part"),
    )


KEYS: tuple[Key, ...] = (
    Key(Scope.VOLUMES, "enter", "Enter", "open", "open the volume under the cursor", "open", "open"),
    Key(Scope.VOLUMES, "slash", "/", "filter", "filter the list; Esc in the filter takes the change back", "filter"),
    Key(Scope.VOLUMES, "escape", "Esc", "back", "undo the filter: all volumes again, or back to where the list was opened from"),
    Key(Scope.VOLUMES, "n", "n", "next_problem", "go to the next volume that is stuck, slow or unknown", "next"),
    Key(Scope.VOLUMES, "s", "s", "sort", "sort by the next of: worst, name, time in step, operations", "sort", spare=2),
    Key(Scope.VOLUMES, "y", "y", "copy", "copy the command to run next (works over SSH)"),
    Key(Scope.VOLUMES, "d", "d", "driver", "open the volume's driver"),
    Key(Scope.VOLUMES, "o", "o", "node", "open the node the volume is on"),
    Key(Scope.VOLUME, "escape,backspace", "Esc", "back", "undo the filter of facts, or back to the list", "back", "back"),
    Key(Scope.VOLUME, "d", "d", "driver", "open the volume's driver"),
    Key(Scope.VOLUME, "o", "o", "node", "open the node of the pod that is looked at"),
    Key(Scope.VOLUME, "tab", "Tab", "pane_by(1)", "next pane", "pane"),
    Key(Scope.VOLUME, "shift+tab", "Shift+Tab", "pane_by(-1)", "previous pane"),
    Key(Scope.VOLUME, "1", "1", "pane(0)", "Why: the verdict, its evidence, what to run"),
    Key(Scope.VOLUME, "2", "2", "pane(1)", "Steps: the seventeen steps and who attests them"),
    Key(Scope.VOLUME, "3", "3", "pane(2)", "Witnesses: Kubernetes, driver and kernel side by side"),
    Key(Scope.VOLUME, "4", "4", "pane(3)", "FUSE: operations, latencies, errors, the daemon"),
    Key(Scope.VOLUME, "5", "5", "pane(4)", "Events: every fact in order, and what changed"),
    Key(Scope.VOLUME, "enter", "Enter", "open", "on a piece of evidence or a step: go to its fact", "fact"),
    Key(Scope.VOLUME, "y", "y", "copy", "copy the command to run next (works over SSH)", "copy"),
    Key(Scope.VOLUME, "n", "n", "next_problem", "open the next volume that is stuck, slow or unknown", "problem"),
    Key(Scope.VOLUME, "p", "p", "next_pod", "look at the next pod that uses the volume"),
    Key(Scope.VOLUME, "b", "b", "way_back", "Steps: the way in, or the way back (unpublish … delete)"),
    Key(Scope.VOLUME, "slash", "/", "filter", "Events: show the facts that match"),
    *_list_keys(Scope.DRIVERS, "driver", "worst, name, number of volumes"),
    *_place_keys(Scope.DRIVER, "driver", "node"),
    *_list_keys(Scope.NODES, "node", "worst, name, number of volumes, latest change of Ready"),
    *_place_keys(Scope.NODE, "node", "driver"),
    Key(Scope.TABLE, "up,k", "↑ k", "move(-1)", "one line up"),
    Key(Scope.TABLE, "down,j", "↓ j", "move(1)", "one line down"),
    Key(Scope.TABLE, "pageup,ctrl+b", "PgUp", "page(-1)", "one page up"),
    Key(Scope.TABLE, "pagedown,ctrl+f", "PgDn", "page(1)", "one page down"),
    Key(Scope.TABLE, "g,home", "g Home", "first", "first line"),
    Key(Scope.TABLE, "G,end", "G End", "last", "last line"),
    Key(
        Scope.EVERYWHERE,
        "space",
        "Space",
        "pause",
        "pause, and follow again; of a recording: play, and hold",
        "pause",
        "follow",
        "play",
        "hold",
    ),
    Key(Scope.EVERYWHERE, "left_square_bracket", "[", "step(-1)", "one fact back", held="back"),
    Key(Scope.EVERYWHERE, "right_square_bracket", "]", "step(1)", "one fact forward", held="on"),
    Key(Scope.EVERYWHERE, "left_curly_bracket", "{", "change(-1)", "back to the previous change of a stage", held="stage"),
    Key(Scope.EVERYWHERE, "right_curly_bracket", "}", "change(1)", "forward to the next change of a stage", held="stage"),
    Key(
        Scope.EVERYWHERE,
        "less_than_sign",
        "<",
        "speed(-1)", "play slower; of a live watch: play the past", replay="slower", spare=3
    ),
    Key(
        Scope.EVERYWHERE,
        "greater_than_sign",
        ">",
        "speed(1)", "play faster; of a live watch: play the past", replay="faster", spare=2
    ),
    Key(Scope.EVERYWHERE, "left_parenthesis", "(", "end(-1)", "to the beginning", held="begin", spare=5),
    Key(Scope.EVERYWHERE, "right_parenthesis", ")", "end(1)", "to the end; of a live watch: follow again", held="end", spare=5),
    Key(Scope.EVERYWHERE, "comma", ",", "jump_mark(-1)", "back to the previous mark", held="mark", spare=4),
    Key(Scope.EVERYWHERE, "full_stop", ".", "jump_mark(1)", "forward to the next mark", held="mark", spare=4),
    Key(
        Scope.EVERYWHERE,
        "at",
        "@",
        "go_to", "go to: 14:02:11, +1m30s from the beginning, -30s from the end, a mark", held="go to", spare=1
    ),
    Key(Scope.EVERYWHERE, "V", "V", "list('volumes')", "the list of all volumes"),
    Key(Scope.EVERYWHERE, "D", "D", "list('drivers')", "the list of CSI drivers", "drivers", spare=1),
    Key(Scope.EVERYWHERE, "N", "N", "list('nodes')", "the list of nodes", "nodes", spare=1),
    Key(Scope.EVERYWHERE, "m", "m", "mark", "set a mark with a name, now (of a live watch)"),
    Key(Scope.EVERYWHERE, "r", "r", "record", "record to a file, from the start of the watch on; and stop (of a live watch)"),
    Key(Scope.EVERYWHERE, "question_mark", "?", "help", "this help", "help", "help"),
    Key(Scope.EVERYWHERE, "ctrl+p", "Ctrl+P", "command_palette", "palette: everything by name, and themes"),
    Key(Scope.EVERYWHERE, "q,ctrl+c", "q", "quit", "leave", "quit", "quit"),
)  # fmt: skip


def keys_of(*scopes: Scope) -> Iterator[Key]:
    return (key for key in KEYS if key.scope in scopes)


def bindings(*scopes: Scope) -> list[BindingType]:
    """Textual's bindings for the keys of these scopes."""
    return [Binding(key.keys, key.action, key.meaning, show=False) for key in keys_of(*scopes)]
