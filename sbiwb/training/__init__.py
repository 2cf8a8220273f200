"""Training: a generator of events over a resumable state; checkpoints that are whole or absent."""
