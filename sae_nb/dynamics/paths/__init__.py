"""States of every layer and the paths of tokens through them."""
