"""csitrace: strace for Kubernetes volumes."""

__version__ = "0.1.0.dev0"
