"""Trackers: pages where a training can be watched while it runs."""

from sbiwb.contracts import TrackerPart
from sbiwb.families import Family

family = Family("sbiwb.trackers", "tracker", TrackerPart)
