"""Small inference networks for the contract's tests: a new one needs a line here, or the name of
the file that tests it.
"""

DENSITIES = [  # (kind, options)
    ("nsf", {"transforms": 2, "hidden": [16, 16]}),
    ("nsf", {"transforms": 3, "hidden": [16, 16], "passes": 2, "bins": 5}),
    ("nsf", {"transforms": 1, "hidden": [16, 16], "activation": "silu"}),
    ("maf", {"transforms": 3, "hidden": [16, 16]}),
    ("nice", {"transforms": 3, "hidden": [16, 16]}),
    ("nice", {"transforms": 4, "hidden": [16], "coupling": "additive"}),
    ("naf", {"transforms": 2, "hidden": [16, 16], "signal": 4, "network": [8, 8]}),
    ("unaf", {"transforms": 2, "hidden": [16, 16], "signal": 4, "network": [8, 8]}),
    ("sospf", {"transforms": 2, "hidden": [16, 16]}),
    ("bpf", {"transforms": 2, "hidden": [16, 16], "degree": 8}),
    ("gf", {"transforms": 2, "hidden": [16, 16], "components": 4}),
    ("cnf", {"hidden": [16, 16]}),
    ("ncsf", {"transforms": 2, "hidden": [16, 16]}),
]
MIXTURES = [
    ("gmm", {"components": 3, "hidden": [16]}),
    ("gmm", {"components": 2, "hidden": [16], "covariance": "diagonal"}),
]
OWN_FILES = {
    "flow_matching": "test_flow_matching.py",
    "point": "test_point.py",
}  # kind: its tests beside this file
