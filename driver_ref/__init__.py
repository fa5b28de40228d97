"""driver_ref: a CSI driver whose volumes are FUSE file systems, and which publishes its own lifecycle."""
