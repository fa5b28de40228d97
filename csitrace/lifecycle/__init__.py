"""MEANING: what the recorded facts say about volumes. Pure: no clock, no I/O; time comes in as an argument.

From facts to meaning, in the order of the data path:

* `fold`: `fold(state, event) -> state`, never raising. `state`: the values it builds. `index`: who belongs to whom (correlation).
  `retention`: how long what is gone is kept, and what goes with it.
* `paths`: what a kubelet path tells (driver, volume, pod). `machine`: the CSI volume states as a table of transitions.
* `steps`: the seventeen steps and the way back as a table; `witnessed`: what each witness says of a step.
* `ladder`: the steps of one volume for one pod, with times; `verdict`: the blocking step in one sentence, with its evidence.
* `row`: one line of the list. `filter`: the filter language over rows. `spans`: named intervals. `history`: all states, by seq.

A rule that needs more than one volume's facts, or names a root cause, belongs in `diagnosis`.
"""
