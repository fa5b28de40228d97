"""PRINTERS: the same meaning as the screens, for pipes and files. Knows state and views, never sources.

* `changes`: what differs between two moments of the list of volumes, as values. `lines`: those as lines of text or JSON.
* `printer`: a session printed as it changes, for `csitrace watch` without a terminal. `once`, `table`: the list once, for
  `csitrace get`. `silence`: who is not heard, in few sentences. `refusal`: whether anything will ever be heard at all.
"""
