"""Records of the steering panel."""
