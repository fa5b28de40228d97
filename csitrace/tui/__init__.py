"""SCREEN: what a person sees and presses. Knows state and views, never sources; holds no truth of its own.

From values to cells, in the order of the data path:

* `watched`: one moment of a session as the screens draw it, the only place that asks the session anything.
* `why`, `steps`, `witnesses`, `fuse`, `facts`, `header`, `empty`: pure functions from those values to `lines`.
* `columns`, `table`, `block`: the two widgets that draw lines: rows of a table, and a text that scrolls.
* `volumes`, `volume`: the two screens; `filterbar`, `help`, `palette`: what opens over them.
* `keys`: the one table behind bindings, footer, help, palette and docs/keys.md. `frames`: a burst costs one repaint.
"""
