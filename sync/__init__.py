"""Device and control plane: the wire between them, and both of its ends."""
