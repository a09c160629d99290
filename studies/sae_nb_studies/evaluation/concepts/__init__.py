"""Known concepts: probing, absorption, targeted edits."""
