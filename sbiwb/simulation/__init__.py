"""Simulation: from a user's file and a prior to blocks of valid pairs."""
