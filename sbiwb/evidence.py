"""What diagnostics judge, and the numbers they give. numpy only.

A check takes one of these records, the one that its `Config.takes` names (a key of `KINDS`); the
workflow makes each record once, and only where a check takes it.

Shapes: N test pairs, S draws, D parameter columns, K statistics, M real data sets.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum

import numpy as np

from sbiwb.row_arrays import RowArray, at, optional_at


@dataclass(frozen=True)
class Quantity:
    """A test quantity t(theta, x) whose rank is judged like a parameter's.

    Args:
        truth: t(theta*, x), (N,).
        draws: t(draws, x), (N, S).
    """

    truth: np.ndarray
    draws: RowArray

    def at(self, rows: np.ndarray) -> Quantity:
        return Quantity(self.truth[rows], at(self.draws, rows))


@dataclass(frozen=True)
class Draws:
    """Posterior draws for N test pairs, in the user's units.

    Args:
        names: Columns of theta, D names.
        theta: What generated the data, (N, D).
        draws: (N, S, D); of a run, they are read from disk in pieces.
        prior_var: Var of each column under the prior, (D,).
        prior_var_source: `prior` where it is the prior's own variance, else `test set`.
        log_prob_theta: log q(theta | x) at `theta`, (N,).
        context: Design variables of each pair, each (N,).
        leaked: Share of draws outside the prior's support, per column, (D,).
        seed: Root of the random ties.
        log_prob_draws: log q(theta | x) at the draws, (N, S), where it was worth its cost.
        sizes: Members of each observable whose number varies, by name, each (N,).
        quantities: Test quantities beyond theta's columns, by name: those of the simulator file.
        prior_draws: Draws from the prior, none of which generated any data here, (R, D).
        unconstrain: Rows of theta (n, D), inside the support, to the unconstrained z (n, D); None
            where theta is that already.
        ridge_prediction: h(x), what the data alone say of z: a ridge regression of z on statistics
            of the data, fitted on other pairs and centred at the prior's mean, (N, D).
        levels: Values that a discrete column takes, rising, by its name.
    """

    names: tuple[str, ...]
    theta: np.ndarray
    draws: RowArray
    prior_var: np.ndarray
    prior_var_source: str = "prior"
    log_prob_theta: np.ndarray | None = None
    context: Mapping[str, np.ndarray] = field(default_factory=dict)
    leaked: np.ndarray | None = None
    seed: int = 0
    log_prob_draws: RowArray | None = None
    sizes: Mapping[str, np.ndarray] = field(default_factory=dict)
    quantities: Mapping[str, Quantity] = field(default_factory=dict)
    prior_draws: np.ndarray | None = None
    unconstrain: Callable[[np.ndarray], np.ndarray] | None = None
    ridge_prediction: np.ndarray | None = None
    levels: Mapping[str, Sequence[float] | np.ndarray] = field(default_factory=dict)

    @property
    def n(self) -> int:
        return self.draws.shape[0]

    @property
    def s(self) -> int:
        return self.draws.shape[1]

    def at(self, rows: np.ndarray) -> Draws:
        """The test pairs at `rows`."""
        return replace(
            self,
            theta=self.theta[rows],
            draws=at(self.draws, rows),
            log_prob_theta=optional_at(self.log_prob_theta, rows),
            log_prob_draws=optional_at(self.log_prob_draws, rows),
            context={name: column[rows] for name, column in self.context.items()},
            sizes={name: column[rows] for name, column in self.sizes.items()},
            quantities={name: quantity.at(rows) for name, quantity in self.quantities.items()},
            ridge_prediction=optional_at(self.ridge_prediction, rows),
        )


@dataclass(frozen=True)
class PredictiveReplicates:
    """Statistics of test data, and of data simulated again from the posterior of each.

    Args:
        names: Of the K statistics, such as `in_bed[3]` or `mean rt`.
        observed: Of the test data, (N, K).
        replicated: Of R simulations from the posterior of each, (N, R, K); NaN where one failed.
    """

    names: tuple[str, ...]
    observed: np.ndarray
    replicated: np.ndarray


@dataclass(frozen=True)
class FeatureSpace:
    """Data sets as K numbers each, in one way of measuring them.

    Args:
        columns: K names.
        train: Of training simulations, (T, K).
        test: Of simulations that no training saw, (N, K).
        observed: Of real data sets, (M, K).
    """

    columns: tuple[str, ...]
    train: np.ndarray
    test: np.ndarray
    observed: np.ndarray


@dataclass(frozen=True)
class Summaries:
    """Simulated and real data sets, measured in one or several ways.

    Args:
        labels: Of the M real data sets.
        groups: The observation that each belongs to, M names: those of one observation are also
            judged as a set.
        spaces: `network`: the summary network's features; `statistics`: those of the observables.
        seed: Root of whatever is drawn at random.
    """

    labels: tuple[str, ...]
    groups: tuple[str, ...]
    spaces: Mapping[str, FeatureSpace]
    seed: int = 0


@dataclass(frozen=True)
class LC2STData:
    """What a classifier needs to judge the posterior at single observations.

    Args:
        names: Columns of theta, D names.
        z: Unconstrained theta* of N calibration pairs, (N, D).
        draws: One posterior draw for each, unconstrained, (N, D).
        x: What the network's features say of each pair's data, (N, H).
        labels: Of the M real data sets.
        observed_x: Their features, (M, H).
        observed_draws: Their posterior draws, unconstrained, (M, S, D).
        seed: Root of the classifiers.
    """

    names: tuple[str, ...]
    z: np.ndarray
    draws: np.ndarray
    x: np.ndarray
    labels: tuple[str, ...]
    observed_x: np.ndarray
    observed_draws: np.ndarray
    seed: int = 0


@dataclass(frozen=True)
class Budget:
    """The same network trained on parts of the simulations.

    Args:
        pairs: Training pairs of each training, rising, (B,).
        losses: -log q(theta* | x) of each training on the same N validation pairs, in nats, in the
            units of theta, (B, N).
    """

    pairs: np.ndarray
    losses: np.ndarray


@dataclass(frozen=True)
class WeightDraws:
    """Posteriors under several draws of the network's weights.

    Args:
        names: Columns of theta, D names.
        mean: Mean of the draws under each of W weight draws, (N, W, D).
        variance: Their variance (ddof 1), (N, W, D).
        draws: Posterior draws under each weight draw.
        shares: Of each weight draw in the posterior, (W,); None where all are equal.
    """

    names: tuple[str, ...]
    mean: np.ndarray
    variance: np.ndarray
    draws: int
    shares: np.ndarray | None = None


@dataclass(frozen=True)
class LogEvidences:
    """c = log p(theta) + log l(x | theta) - log q(theta | x), by a posterior q and a likelihood l.

    Where both are exact it is the log evidence at every theta.

    Args:
        truth: At what generated the data of N test pairs, (N,).
        draws: At draws of q(. | x), (N, S).
        seed: Root of the random ties.
    """

    truth: np.ndarray
    draws: np.ndarray
    seed: int = 0


class EvidenceKind(StrEnum):
    """The kinds of evidence that a check can judge."""

    DRAWS = "draws"
    REPLICAS = "replicas"
    SUMMARIES = "summaries"
    LOCAL = "local"
    BUDGET = "budget"
    WEIGHT_DRAWS = "weight_draws"
    LOG_EVIDENCES = "log_evidences"


KINDS: dict[EvidenceKind, type] = {
    EvidenceKind.DRAWS: Draws,
    EvidenceKind.REPLICAS: PredictiveReplicates,
    EvidenceKind.SUMMARIES: Summaries,
    EvidenceKind.LOCAL: LC2STData,
    EvidenceKind.BUDGET: Budget,
    EvidenceKind.WEIGHT_DRAWS: WeightDraws,
    EvidenceKind.LOG_EVIDENCES: LogEvidences,
}


class Shape(StrEnum):
    """What is wrong with a miscalibrated posterior; advice reads it."""

    BIASED_LOW = "biased low"
    BIASED_HIGH = "biased high"
    OVERCONFIDENT = "overconfident"
    UNDERCONFIDENT = "underconfident"
    PRIOR_LIKE = "follows the data too little"
    OVERREACTING = "follows the data too much"
    WRONG_IN_SHAPE = "wrong in shape"


class Rule(StrEnum):
    """Named warnings of descriptive checks; a check of one's own may have others."""

    UNIDENTIFIED = "unidentified"
    LEAKED = "leaked"
    UNLIKE = "unlike the simulations"
    OUTSIDE_PRIOR_PREDICTIVE = "outside the prior predictive"
    NOT_REPRODUCED = "not reproduced"
    UNCERTAIN_WEIGHTS = "uncertain weights"
    MORE_SIMULATIONS = "more simulations would help"
    MISCALIBRATED = "miscalibrated"
    MISJUDGED_LEVELS = "levels misjudged"
    LEARNED_LITTLE = "learned little"
    TRUTH_EXCLUDED = "truth excluded"


@dataclass(frozen=True)
class Value:
    """One number of a diagnostic, for one parameter (or test quantity).

    Args:
        name: What was measured, by the name of its definition.
        parameter: Column of theta, the test quantity, the statistic or the observation.
        value: The number; None where it cannot be had, with the reason.
        p: p-value of a calibration check, before Holm.
        effect: Effect size of a calibration check: max |ECDF - z|.
        effect_interval: Its 95 % interval.
        warning: A named rule of a descriptive check that holds, a `Rule` or one of its own.
        reason: In words: what the number says, or why there is none.
        shapes: What is wrong with the posterior where a calibration check rejects, the strongest
            first.
    """

    name: str
    parameter: str
    value: float | None
    p: float | None = None
    effect: float | None = None
    effect_interval: tuple[float, float] | None = None
    warning: str | None = None
    reason: str = ""
    shapes: tuple[Shape, ...] = ()
