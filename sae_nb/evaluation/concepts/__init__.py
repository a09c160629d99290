"""Known concepts: probing, absorption, identifiability."""
