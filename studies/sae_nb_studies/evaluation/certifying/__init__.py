"""Is an atom a fact about the data, or about one training? Sisters, controls, and a verdict per atom."""
