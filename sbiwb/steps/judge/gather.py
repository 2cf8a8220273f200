"""What the checks judge, made from a trained run: each kind of evidence once, and only where a check takes it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from sbiwb.contracts import Reporter, Silent
from sbiwb.diagnostics import moments, statistics
from sbiwb.errors import SimulatorError
from sbiwb.evidence import (
    Budget,
    Draws,
    LC2STData,
    PredictiveReplicates,
    Quantity,
    Summaries,
    WeightDraws,
)
from sbiwb.posterior import Posterior
from sbiwb.project.observe import DataSets
from sbiwb.project.project import Project
from sbiwb.project.splits import load_split
from sbiwb.project.trained import posterior_of
from sbiwb.records import Pairs, Ragged, join, take
from sbiwb.seeds import generator
from sbiwb.steps.judge.draw_blocks import draw_test_posteriors
from sbiwb.steps.judge.measure import WEIGHED, numbers, observed, summaries, weight_draws
from sbiwb.steps.judge.ridge import ridge_prediction

REPLICATED, REPLICAS, AT_ONCE = (
    200,
    50,
    20,
)  # test pairs, simulations from the posterior of each, and pairs simulated together
LOCAL_DRAWS, MOST_LOCAL = 1_000, 50
BUDGET = (
    0.25,
    0.5,
)  # parts of the training pairs that the data budget trains on besides all of them


@dataclass(frozen=True)
class EvidenceCache:
    """Evidence by kind; each is a property that is made when it is first asked for.

    Args:
        project: A trained run.
        reporter: Where progress goes.
        train_on: Trains the same network on that many of the training pairs, and gives its posterior.
    """

    project: Project
    reporter: Reporter
    train_on: Callable[[Project, int, Reporter], Posterior]

    @cached_property
    def posterior(self) -> Posterior:
        return posterior_of(self.project, self.reporter)

    @cached_property
    def test(self) -> Pairs:
        return load_split(self.project, "test")

    @cached_property
    def observations(self) -> list[DataSets]:
        """The real data of the YAML; what cannot be read is told by `sample`, and left out here."""
        return observed(self.project, self.reporter)

    @cached_property
    def draws(self) -> Draws:
        return _draws(self.project, self.posterior, self.test, self.reporter)

    @cached_property
    def summaries(self) -> Summaries:
        return summaries(self.project, self.posterior, self.observations, self.test)

    @cached_property
    def replicas(self) -> PredictiveReplicates:
        return _replicas(self.project, self.draws, self.test, self.reporter)

    @cached_property
    def local(self) -> LC2STData:
        return _local(
            self.posterior,
            self.draws,
            self.test,
            self.observations,
            self.project.config.diagnose.seed,
            self.reporter,
        )

    @cached_property
    def budget(self) -> Budget:
        return _budget(self.project, self.draws, self.test, self.reporter, self.train_on)

    @cached_property
    def weight_draws(self) -> WeightDraws:
        """Under each of the networks that the posterior mixes; where there is one, as it is."""
        if len(self.posterior.networks) == 1:
            mean, variance = moments(self.draws.draws)
            return WeightDraws(self.draws.names, mean[:, None], variance[:, None], self.draws.s)
        pairs = self.test.take(np.arange(min(WEIGHED, len(self.test))))
        return weight_draws(
            self.posterior,
            pairs.variables,
            generator(self.project.config.diagnose.seed, "components"),
        )


def _draws(project: Project, posterior: Posterior, pairs: Pairs, reporter: Reporter) -> Draws:
    found = draw_test_posteriors(project, posterior, pairs, reporter)
    prior, theta, seed = (
        project.prior,
        project.prior.stack(pairs.theta),
        project.config.diagnose.seed,
    )
    draws = Draws(
        names=posterior.columns,
        theta=theta,
        draws=found.draws,
        prior_var=prior.variance(),
        log_prob_theta=found.log_prob_theta,
        log_prob_draws=found.log_prob_draws,
        context={
            name: values
            for name, values in pairs.context.items()
            if isinstance(values, np.ndarray) and values.ndim == 1
        },
        leaked=found.leaked,
        seed=seed,
        sizes={
            name: values.lengths
            for name, values in pairs.x.items()
            if isinstance(values, Ragged) and np.ptp(values.lengths) > 0
        },
        prior_draws=prior.stack(prior.sample(generator(seed, "prior"), max(len(theta), 1_000))),
        unconstrain=posterior.theta_map.forward,
        ridge_prediction=_guess(project, posterior, pairs),
    )
    return replace(draws, quantities=_quantities(project, draws, pairs))


def _guess(project: Project, posterior: Posterior, pairs: Pairs) -> np.ndarray:
    """What the data alone say of z; fitted on the validation pairs."""
    others = load_split(project, "validation")
    z = posterior.theta_map.forward(project.prior.stack(others.theta))
    missing = project.config.problem.missing
    return ridge_prediction(numbers(others.x, others.context, missing), z)(
        numbers(pairs.x, pairs.context, missing)
    )


def _quantities(project: Project, draws: Draws, pairs: Pairs) -> dict[str, Quantity]:
    """The simulator file's own `test_quantities(theta, x)`, at the truth and at the draws of each test pair.

    Raises:
        SimulatorError: It fails, or returns something of another shape.
    """
    function = project.source.optional("test_quantities")
    if function is None:
        return {}
    rows: list[dict[str, np.ndarray]] = []
    for n in range(draws.n):
        theta = np.concatenate([draws.theta[n : n + 1], draws.draws[slice(n, n + 1)][0]])
        x = {name: values[n] for name, values in pairs.variables.items()}
        rows.append(_called(project, function, project.prior.unstack(theta), x, len(theta)))
    _check_names(project, draws.names, rows)
    table = {name: np.stack([row[name] for row in rows]) for name in rows[0]} if rows else {}
    return {name: Quantity(values[:, 0], values[:, 1:]) for name, values in table.items()}


def _check_names(
    project: Project, columns: tuple[str, ...], rows: list[dict[str, np.ndarray]]
) -> None:
    """Refuses names that come for some data sets only, or mean something else already."""
    names = sorted({name for row in rows for name in row})
    varying = [name for name in names if not all(name in row for row in rows)]
    taken = [name for name in names if name in columns or name == "log q" or name.endswith("·x")]
    if varying or taken:
        what = (
            f"returns {', '.join(varying)} for some data sets only"
            if varying
            else f"gives a quantity the name {', '.join(taken)}"
        )
        raise SimulatorError(
            f"test_quantities() {what}",
            where=project.source.path,
            todo="Return the same names for every data set, none of them a parameter's, `log q` or one that ends in `·x`.",
        )


def _called(
    project: Project,
    function: Any,
    theta: Mapping[str, np.ndarray],
    x: Mapping[str, Any],
    count: int,
) -> dict[str, np.ndarray]:
    try:
        return {
            name: np.asarray(values, float).reshape(count)
            for name, values in function(theta, x).items()
        }
    except Exception as error:
        raise SimulatorError(
            f"test_quantities() failed: {type(error).__name__}: {error}",
            where=project.source.path,
            todo="It is called with theta {name: (n,)} and the x of one data set; return {name: array (n,)}.",
        ) from error


def _replicas(
    project: Project, draws: Draws, pairs: Pairs, reporter: Reporter
) -> PredictiveReplicates:
    """Data simulated again from the posterior of the first test pairs."""
    n, count = min(REPLICATED, draws.n), min(REPLICAS, draws.s)
    kept = pairs.take(np.arange(n))
    missing = project.config.problem.missing
    names, observed = statistics(kept.x, missing)
    replicated = np.full((n, count, len(names)), np.nan)
    with reporter.task("predict", n, unit="test pairs") as ticker:
        for start in range(0, n, AT_ONCE):  # of the data only the statistics are kept
            rows = np.arange(start, min(start + AT_ONCE, n))
            context = {name: take(values, rows) for name, values in kept.context.items()}
            seed = int(generator(project.config.diagnose.seed, "replicas", start).integers(2**31))
            done = project.forward.simulate(draws.draws[rows][:, :count], context, seed, Silent())
            row, replica = np.divmod(done.rows, count)
            replicated[start + row, replica] = statistics(done.pairs.x, missing)[1]
            ticker.advance(len(rows))
    return PredictiveReplicates(names, observed, replicated)


def _local(
    posterior: Posterior,
    draws: Draws,
    pairs: Pairs,
    observations: list[DataSets],
    seed: int,
    reporter: Reporter,
) -> LC2STData:
    """Test pairs for the classifier, and real data sets to judge: not more than `MOST_LOCAL`, for each is a test of its own."""
    forward, d = posterior.theta_map.forward, len(draws.names)
    first = np.concatenate(
        [draws.draws[slice(start, start + 64)][:, 0] for start in range(0, draws.n, 64)]
    )
    labels = [label for one in observations for label in one.labels]
    chosen = np.unique(np.linspace(0, len(labels) - 1, min(len(labels), MOST_LOCAL)).astype(int))
    if len(chosen) < len(labels):
        reporter.say(
            f"The posterior is judged locally at {len(chosen)} of {len(labels):,} data sets, evenly spread."
        )
    x = {
        name: take(join([one.variables[name] for one in observations]), chosen)
        for name in observations[0].variables
    }
    cloud = posterior.sample(x, LOCAL_DRAWS, generator(seed, "local"))
    return LC2STData(
        draws.names,
        forward(draws.theta),
        forward(first),
        posterior.features(pairs.variables),
        tuple(labels[i] for i in chosen),
        posterior.features(x),
        forward(cloud.reshape(-1, d)).reshape(cloud.shape),
        seed,
    )


def _budget(
    project: Project,
    draws: Draws,
    pairs: Pairs,
    reporter: Reporter,
    train_on: Callable[[Project, int, Reporter], Posterior],
) -> Budget:
    """The loss of the same network trained on parts of the pairs."""
    assert draws.log_prob_theta is not None
    whole = project.config.simulate.train
    counts = sorted({max(1, int(part * whole)) for part in BUDGET})
    reporter.say(
        f"The data budget trains {len(counts)} further networks, on {' and '.join(f'{count:,}' for count in counts)} pairs."
    )
    theta = project.prior.stack(pairs.theta)
    losses = [
        -train_on(project, count, reporter).log_prob(theta, pairs.variables) for count in counts
    ]
    return Budget(np.array([*counts, whole]), np.stack([*losses, -draws.log_prob_theta]))
