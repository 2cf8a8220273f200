"""Networks: summaries of the inputs, the density of z given them, and the estimator that joins the
two.
"""
