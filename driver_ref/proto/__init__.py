"""The reference driver's own control interface (faults on demand), with its generated code."""
