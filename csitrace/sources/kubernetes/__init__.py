"""The Kubernetes witness: what the API server says of volumes, listed once and watched from then on.

`config` (kubectl's flags and files) makes an `access` (address, TLS, identity); `connection` is HTTP with it; `wire` reads bytes
into the kept fields; `store` tells what is new in them; `reflector` follows one kind; `liveness` notices a lost server;
`source` runs a reflector for each kind. Importing this package loads neither aiohttp nor the kubernetes package's client: import
`source` where a cluster is really to be watched.
"""
