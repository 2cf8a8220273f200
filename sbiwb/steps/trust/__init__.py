"""How far the posterior of one data set can be trusted: what speaks of it, put together."""
