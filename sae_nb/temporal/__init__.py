"""Time in activations: what the past already said of a token, and what the token adds."""
