"""References: posteriors by roads that need no training, to hold the amortized one against. One file per method, its name is the `kind`."""

from sbiwb.families import Family

__all__ = ["family"]

family = Family("sbiwb.references", "reference method")
