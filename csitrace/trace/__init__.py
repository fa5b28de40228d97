"""THE FILE: what a recording looks like on disk, how it is written, how it is read whatever happened to it.

`format` names its parts, `writer` appends blocks, `rotation` bounds their files, `frames` finds blocks in what is left of a file,
and `reader` is total: on any bytes it yields events or raises `TraceError`. The format is described, for readers in other
languages, in docs/trace-format.md.
"""
