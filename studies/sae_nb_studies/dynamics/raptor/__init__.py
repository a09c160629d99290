"""Raptor: a deep network approximated by a few shared blocks."""
