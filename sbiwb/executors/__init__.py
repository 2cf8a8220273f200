"""Executors: who runs the tasks, and where."""

from sbiwb.families import Family

family = Family("sbiwb.executors", "executor")
