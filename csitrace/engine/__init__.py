"""RUNTIME: the one mutable object (`Session`), the playhead, the clock, and the merge that stamps facts into order.

Nothing here knows where facts come from (they arrive as `Observation`s) nor what is drawn of them. The only clock of csitrace is
`clock`; everything below takes the time as an argument.
"""
