"""The roads a volume can take: each is written once, driven in the lab and on a real Kubernetes, and judged in both by one judge.

A road is a coroutine in one of the modules that `catalogue` names, with a name, a title for readers, and where it can be walked:

    @road("wait-for-first-consumer", "A claim that waits for its pod", on=EVERYWHERE)
    async def waits_for_its_pod(t: Traveller) -> None:
        await t.apply(claim("data", WAITING))
        await t.moment("claim without a pod", done="1", na="…", waits=("2", "scheduler"))
        await t.apply(t.pod("pod", claims=("data",)))
        await t.moment("in use", done="1-17", waits=IN_USE)
        await t.delete("pod/pod", "persistentvolumeclaim/data")
        await t.moment("gone", done="1-17 b1-b13", waits=GONE)

What a traveller offers:

* `apply`, `delete`, `patch`, `get`: through kubectl on a cluster, through the API in the lab; in a namespace of the road's own.
* `until(what, predicate)`: waits for a state of the whole session. Every state is looked at, also those that last for one
  event only, from the last action (or the last moment) on.
* `moment(name, …)`: waits until the ladder of one volume, for one pod, stands exactly as said, and records it for the table.
  A step that is not named has to be pending; the way back is compared as soon as the volume is going (then name `b…` steps, too).
  `waits`: the verdict's (step, part of the holder's name), `IN_USE`, `AT_REST` or `GONE`; `severity` where that is the point.
  Name only steps that are settled in that moment: what two programs race for is `either`.
* `fault`, `clear_faults`: what the driver does wrong on purpose.

Every road is judged by `judge` all the while and at its end: see there. A road must take away what it made.

* `python -m pytest tests/roads` walks what the lab can walk.
* `python -m pytest -m cluster tests/cluster/test_roads.py` walks the calm roads on a real cluster, several at a time, each a
  result of its own. Roads that kill parts are walked one by one, with `walk.walk`.
* Either prints the table of what was seen. With `CSITRACE_RECORD=roads` they keep it in `walked.json`, too, and write
  docs/roads.md from that (the lab's with `-n0`); a test that walks roads by itself hands its journeys to `plugin.note`.
"""
