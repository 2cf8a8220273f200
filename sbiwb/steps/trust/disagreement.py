r"""Do the networks of an ensemble say the same of a data set?

Networks that were trained alike from other starts agree where the training pairs decide, and part
where they do not. How far they part at a data set is

    J = sum_w share_w KL( q_w(. | x) || q(. | x) ),    q = sum_w share_w q_w,

in nats: what a draw tells of the network that made it; 0 where all are the same, log W at most
[Lin 1991]. Held against J at simulated test pairs, it is a test of level alpha, whatever the
networks are, of whether a data set is like these.

References:
    Lin (1991), Divergence Measures Based on the Shannon Entropy, https://doi.org/10.1109/18.61115
    Lakshminarayanan, Pritzel & Blundell (2017), Simple and Scalable Predictive Uncertainty
        Estimation using Deep Ensembles, https://arxiv.org/abs/1612.01474
"""

from __future__ import annotations

import numpy as np
from scipy.special import logsumexp


def divergences(log_q: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """J of each of N data sets, in nats, (N,).

    Args:
        log_q: log q_w at draws of each network, (W of the draws, W of the density, N, S).
        shares: Of each network, (W,).
    """
    mixed = logsumexp(log_q, axis=1, b=shares[:, None, None])  # (W, N, S)
    own = np.stack([log_q[w, w] for w in range(len(shares))])
    each = (own - mixed).mean(-1)
    return np.maximum(0.0, shares @ each)
