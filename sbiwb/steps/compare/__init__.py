"""Comparing: trained runs by their test pairs, draws of one posterior by their distance."""
