"""References: posteriors by roads that need no training, to hold the amortized one against. One
file per method, its name is the `kind`."""

from sbiwb.contracts import ReferencePart
from sbiwb.families import Family
from sbiwb.references._chains import judge
from sbiwb.references._pictures import plot_curves, plot_trace

__all__ = ["family", "judge", "plot_curves", "plot_trace"]

family = Family("sbiwb.references", "reference method", ReferencePart)
