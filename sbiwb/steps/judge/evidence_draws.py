"""The log evidence of test pairs, at the truth and at posterior draws."""

from __future__ import annotations

import numpy as np

from sbiwb.contracts import Reporter
from sbiwb.evidence import Draws, LogEvidences
from sbiwb.project.joint_model import JointModel
from sbiwb.records import Pairs

JUDGED_PAIRS = 200  # test pairs whose likelihood is asked
MAX_DRAWS = 99  # of each
BINS = 5  # equal ones that the ranks can be shared by
PAIRS_AT_ONCE = 20


def log_evidences(joint: JointModel, test: Pairs, draws: Draws, reporter: Reporter) -> LogEvidences:
    """c = log p(theta) + log l(x | theta) - log q(theta | x) of the first test pairs.

    Args:
        joint: Posterior and likelihood.
        test: N test pairs.
        draws: Of the posterior, S of each.
        reporter: Where progress goes.
    """
    pairs, count = test.first(JUDGED_PAIRS), rankable(draws.s)
    c = np.empty((len(pairs), 1 + count))
    with reporter.task("ask the likelihood", len(pairs), unit="test pairs") as ticker:
        for start in range(0, len(pairs), PAIRS_AT_ONCE):
            rows = np.arange(start, min(start + PAIRS_AT_ONCE, len(pairs)))
            some, truth = pairs.take(rows), draws.theta[rows][:, None]
            theta = np.concatenate([truth, draws.draws[rows][:, :count]], axis=1)
            c[rows] = joint.log_evidence_at(theta, some.x, some.context)
            ticker.advance(len(rows))
    return LogEvidences(c[:, 0], c[:, 1:], draws.seed)


def rankable(draws: int) -> int:
    """At most as many draws, whose ranks equal bins can share.

    Example:
        >>> rankable(999), rankable(50), rankable(19)
        (99, 49, 19)
    """
    count = min(draws, MAX_DRAWS)
    return count - (count + 1) % BINS
