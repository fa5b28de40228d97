"""The API server: list, paging, watch, bookmarks, conflicts, finalizers and graceful deletion, as kube-apiserver does them.

`resources` is the table of what is served, `store` the versioned memory behind it, `strategy` what is stamped or checked per
kind, `server` the HTTP face. JSON only; one bearer token; no authorization beyond it.
"""
