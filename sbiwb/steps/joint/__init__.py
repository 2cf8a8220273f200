"""What a posterior and a likelihood say of each other, and together."""
