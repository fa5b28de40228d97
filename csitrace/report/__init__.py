"""PRINTERS: the same meaning as the screens, for pipes and files. Knows state and views, never sources.

* `changes`: what differs between two moments of the list of volumes, as values. `lines`: those as lines of text or JSON.
* `printer`: a session printed as it changes, for `csitrace watch` without a terminal.
"""
