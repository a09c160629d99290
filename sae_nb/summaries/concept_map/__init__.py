"""Records of the concept map."""
