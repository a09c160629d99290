"""Records of the depth panel."""
