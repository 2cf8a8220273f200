"""What the checks judge: each kind of evidence, made once and only where a check takes it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from sbiwb.contracts import Reporter, Silent
from sbiwb.diagnostics import moments, statistics
from sbiwb.evidence import (
    Budget,
    Draws,
    EvidenceKind,
    LC2STData,
    LogEvidences,
    PredictiveReplicates,
    Summaries,
    WeightDraws,
)
from sbiwb.project.observe import DataSets
from sbiwb.project.simulations import ForwardSimulator
from sbiwb.records import Columns, Pairs, Ragged
from sbiwb.seeds import generator
from sbiwb.steps.judge import measure
from sbiwb.steps.judge.draw_blocks import draw_test_posteriors
from sbiwb.steps.judge.evidence_draws import log_evidences
from sbiwb.steps.judge.first_guess import ridge_prediction
from sbiwb.steps.judge.judged_run import JudgedRun
from sbiwb.steps.judge.measure import CalibrationPairs, JoinedObservations
from sbiwb.steps.judge.quantities import quantities_of

REPLICATED_PAIRS = 200  # test pairs that are simulated again
REPLICATES = 50  # simulations from the posterior of each
PAIRS_AT_ONCE = 20  # that are simulated together: of the data only the statistics are kept
LOCAL_DRAWS = 1_000  # of each data set that is judged locally
MAX_LOCAL_DATA_SETS = 50
BUDGET_SHARES = (0.25, 0.5)  # of the training pairs that the data budget trains on besides all
MIN_PRIOR_DRAWS = 1_000
ROWS_AT_ONCE = 64  # of draws that may be on disk

Evidence = (
    Draws | PredictiveReplicates | Summaries | LC2STData | Budget | WeightDraws | LogEvidences
)


@dataclass(frozen=True)
class EvidenceCache:
    """Evidence by kind; each is a property that is made when it is first asked for.

    Args:
        run: A trained run.
        reporter: Where progress goes.
    """

    run: JudgedRun
    reporter: Reporter

    def of(self, kind: EvidenceKind) -> Evidence:
        """The evidence of this kind."""
        match kind:
            case EvidenceKind.DRAWS:
                return self.draws
            case EvidenceKind.REPLICAS:
                return self.replicates
            case EvidenceKind.SUMMARIES:
                return self.summaries
            case EvidenceKind.LOCAL:
                return self.local
            case EvidenceKind.BUDGET:
                return self.budget
            case EvidenceKind.WEIGHT_DRAWS:
                return self.weight_draws
            case EvidenceKind.LOG_EVIDENCES:
                return self.log_evidences

    @cached_property
    def observations(self) -> list[DataSets]:
        """The real data; what cannot be read is told by `sample`, and left out here."""
        return self.run.load_observations()

    @cached_property
    def draws(self) -> Draws:
        return _draws(self.run, self.reporter)

    @cached_property
    def summaries(self) -> Summaries:
        train = self.run.load_training(measure.MAX_TRAINING_SIMULATIONS)
        spaces = measure.SummarySpaces(self.run.posterior, self.run.missing, self.run.seed)
        return spaces.summaries(train, self.run.test, self.observations)

    @cached_property
    def replicates(self) -> PredictiveReplicates:
        return _replicates(self.run, self.draws, self.reporter)

    @cached_property
    def local(self) -> LC2STData:
        return _local(self.run, self.draws, self.observations, self.reporter)

    @cached_property
    def budget(self) -> Budget:
        return _budget(self.run, self.draws, self.reporter)

    @cached_property
    def weight_draws(self) -> WeightDraws:
        """Under each of the networks that the posterior mixes; where there is one, as it is."""
        posterior = self.run.posterior
        if len(posterior.networks) == 1:
            mean, variance = moments(self.draws.draws)
            return WeightDraws(self.draws.names, mean[:, None], variance[:, None], self.draws.s)
        pairs = _first(self.run.test, measure.WEIGHT_PAIRS)
        rng = generator(self.run.seed, "components")
        return measure.weight_draws(posterior, pairs.variables, rng)

    @cached_property
    def log_evidences(self) -> LogEvidences:
        assert self.run.load_joint is not None  # else no check takes it
        return log_evidences(self.run.load_joint(), self.run.test, self.draws, self.reporter)


def _first(pairs: Pairs, count: int) -> Pairs:
    return pairs.take(np.arange(min(count, len(pairs))))


def _draws(run: JudgedRun, reporter: Reporter) -> Draws:
    """Draws of the test pairs, with all that checks may ask of them."""
    test, prior = run.test, run.prior
    drawn = draw_test_posteriors(run.posterior, prior, test, run.draw_options, reporter)
    theta = prior.stack(test.theta)
    prior_draws = prior.sample(generator(run.seed, "prior"), max(len(theta), MIN_PRIOR_DRAWS))
    draws = Draws(
        names=run.posterior.columns,
        theta=theta,
        draws=drawn.draws,
        prior_var=prior.variance(),
        log_prob_theta=drawn.log_prob_theta,
        log_prob_draws=drawn.log_prob_draws,
        context=_plain_columns(test.context),
        leaked=drawn.leaked,
        seed=run.seed,
        sizes=_varying_sizes(test.x),
        prior_draws=prior.stack(prior_draws),
        unconstrain=run.posterior.theta_map.forward,
        ridge_prediction=_ridge_prediction(run),
        levels=run.posterior.theta_map.levels,
    )
    return replace(draws, quantities=quantities_of(run, draws))


def _plain_columns(context: Columns) -> dict[str, np.ndarray]:
    """Context variables of one number a data set."""
    columns = {}
    for name, values in context.items():
        if isinstance(values, np.ndarray) and values.ndim == 1:
            columns[name] = values
    return columns


def _varying_sizes(x: Columns) -> dict[str, np.ndarray]:
    """Members of each observable whose number varies."""
    sizes = {}
    for name, values in x.items():
        if isinstance(values, Ragged) and np.ptp(values.lengths) > 0:
            sizes[name] = values.lengths
    return sizes


def _ridge_prediction(run: JudgedRun) -> np.ndarray:
    """What the data alone say of z, (N, D); fitted on the validation pairs."""
    validation = run.load_validation()
    z = run.posterior.theta_map.forward(run.prior.stack(validation.theta))
    fitted_on = measure.numbers(validation.x, validation.context, run.missing)
    predict = ridge_prediction(fitted_on, z)
    return predict(measure.numbers(run.test.x, run.test.context, run.missing))


def _replicates(run: JudgedRun, draws: Draws, reporter: Reporter) -> PredictiveReplicates:
    """Data simulated again from the posterior of the first test pairs."""
    pairs = _first(run.test, REPLICATED_PAIRS)
    names, observed = statistics(pairs.x, run.missing)
    replicated = np.full((len(pairs), min(REPLICATES, draws.s), len(names)), np.nan)
    forward = run.forward()
    with reporter.task("predict", len(pairs), unit="test pairs") as ticker:
        for start in range(0, len(pairs), PAIRS_AT_ONCE):
            rows = np.arange(start, min(start + PAIRS_AT_ONCE, len(pairs)))
            _replicate(replicated, rows, run, draws, forward)
            ticker.advance(len(rows))
    return PredictiveReplicates(names, observed, replicated)


def _replicate(
    replicated: np.ndarray,
    rows: np.ndarray,
    run: JudgedRun,
    draws: Draws,
    forward: ForwardSimulator,
) -> None:
    """Fills in the statistics of some test pairs; those of failed simulations stay NaN."""
    count = replicated.shape[1]
    context = run.test.take(rows).context
    seed = int(generator(run.seed, "replicas", int(rows[0])).integers(2**31))
    done = forward.simulate(draws.draws[rows][:, :count], context, seed, Silent())
    row, replicate = np.divmod(done.rows, count)
    replicated[rows[0] + row, replicate] = statistics(done.pairs.x, run.missing)[1]


def _local(
    run: JudgedRun, draws: Draws, observations: list[DataSets], reporter: Reporter
) -> LC2STData:
    """Test pairs for the classifier, and real data sets to judge, each a test of its own."""
    data = JoinedObservations.of(observations)
    data = data.take(_chosen(len(data.labels), reporter))
    rng = generator(run.seed, "local")
    observed_draws = run.posterior.sample(data.variables, LOCAL_DRAWS, rng)
    pairs = CalibrationPairs(run.test.variables, draws.theta, _first_draws(draws))
    return measure.local_evidence(run.posterior, pairs, data, observed_draws, run.seed)


def _chosen(count: int, reporter: Reporter) -> np.ndarray:
    """Places of at most `MAX_LOCAL_DATA_SETS` data sets, evenly spread."""
    most = min(count, MAX_LOCAL_DATA_SETS)
    chosen = np.unique(np.linspace(0, count - 1, most).astype(int))
    if len(chosen) < count:
        reporter.say(
            f"The posterior is judged locally at {len(chosen)} of {count:,} data sets, evenly "
            "spread."
        )
    return chosen


def _first_draws(draws: Draws) -> np.ndarray:
    """The first draw of each test pair, (N, D)."""
    first = np.empty((draws.n, len(draws.names)))
    for start in range(0, draws.n, ROWS_AT_ONCE):
        rows = slice(start, start + ROWS_AT_ONCE)
        first[rows] = draws.draws[rows][:, 0]
    return first


def _budget(run: JudgedRun, draws: Draws, reporter: Reporter) -> Budget:
    """The loss of the same network trained on parts of the pairs."""
    assert draws.log_prob_theta is not None  # a budget needs a joint posterior
    counts = _budget_counts(run.training_pairs)
    numbers = " and ".join(map("{:,}".format, counts))
    reporter.say(f"The data budget trains {len(counts)} further networks, on {numbers} pairs.")
    losses = []
    for count in counts:
        part = run.train_on(count)
        losses.append(-part.log_prob(draws.theta, run.test.variables))
    losses.append(-draws.log_prob_theta)
    return Budget(np.array([*counts, run.training_pairs]), np.stack(losses))


def _budget_counts(training_pairs: int) -> list[int]:
    """Numbers of pairs that further networks are trained on, rising."""
    counts = np.array(BUDGET_SHARES) * training_pairs
    return np.unique(np.maximum(1, counts.astype(int))).tolist()
