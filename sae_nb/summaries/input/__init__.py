"""Records of the input lens."""
