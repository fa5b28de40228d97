"""csitrace as a plugin that krew installs: `archive` makes what is downloaded, `manifest` the description in an index.

krew unpacks an archive and links one executable of it into PATH; it installs no dependencies. csitrace needs some that are
compiled, so a single .pyz would not do (a shared object cannot be loaded out of a zip). The archive carries them all, as unpacked
wheels: `lib/any` and `lib/abi3` for every Python, `lib/cp311` … for one; `kubectl-csitrace` picks the Python on PATH that it has
libraries for. The machine must have such a Python and glibc; nothing is compiled or downloaded there.
"""
