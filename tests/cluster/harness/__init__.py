"""Start, watch and stop an unmodified Kubernetes made of ordinary processes."""
