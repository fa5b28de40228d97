"""What people already have, read as what was recorded: dumps of kubectl, must-gather trees, audit logs, klog files, mount tables.

* `inputs`: the files behind paths and directories, in one encoding; `archives`: those within archives; nothing is ever extracted.
* `forms`: the table of what can be read, told by content; one module for each form (`dumps`, `audit`, `klog`, `mountinfo`).
* `hints`: what people know better than a file; `dating`: the year and zone that a log does not say.
* `loglines`: the lines of logs, however they are wrapped; `calls`, `kubelet`: the CSI calls that they tell of.
* `split`: JSON and YAML cut into objects without reading them; `objects`: those bytes as the fields that are kept.
* `spool`: facts on their way from files, which come in any order, to their order in time; `history`: what follows from them.
* `importing`: all of it, in one call; `report`: what was understood of a file, and what was not.

Any bytes give facts or notes; what nothing can be made of is a `TraceError`.
"""
