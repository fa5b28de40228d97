"""The file system of one volume, in a process of its own: pyfuse3 under trio, started by exec.

One process per mount, because pyfuse3 keeps its session in module globals (a second mount in the same process hangs the
first), and because a file system that fails must take nobody else with it. The process outlives the driver that started
it: a restarted driver connects to the control socket (:mod:`driver_ref.fs.channel`) and adopts it.

Run it as ``python -m driver_ref.fs --help``. What may live here: the pass-through file system, its accounting, its fault
injection and its control socket. Nothing here imports grpc, asyncio or csitrace; only ``channel`` is for others to import.
"""
