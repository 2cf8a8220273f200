"""What `diagnose` is made of: posterior draws of the test pairs, the evidence, and strata."""
