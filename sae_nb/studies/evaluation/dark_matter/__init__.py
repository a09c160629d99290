"""What an SAE leaves over, and what it is made of."""
