"""A real Kubernetes on this machine, to judge csitrace and its reference driver by."""
