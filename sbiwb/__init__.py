"""sbiwb: a command-line workbench for amortized simulation-based inference."""

__version__ = "0.1.0"
