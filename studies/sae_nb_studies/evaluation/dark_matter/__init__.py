"""The part that an SAE misses, and its composition."""
