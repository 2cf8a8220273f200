"""What `train` does beside the posterior: the learned likelihoods, and how both agree."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from sbiwb.contracts import OutputKind, Reporter, Silent
from sbiwb.errors import CorruptFile
from sbiwb.files import put_json, read_typed
from sbiwb.posterior import Posterior
from sbiwb.project.choices import with_choices
from sbiwb.project.fingerprint import weights_hash
from sbiwb.project.joint_model import JointModel
from sbiwb.project.likelihoods import folder_of, likelihood_projects, wanted
from sbiwb.project.project import Project
from sbiwb.project.splits import load_split
from sbiwb.project.trained import posterior_of
from sbiwb.project.trained_likelihood import has_likelihood, likelihood_of
from sbiwb.records import Pairs
from sbiwb.rundir import RunDir
from sbiwb.seeds import generator
from sbiwb.steps.joint.consistency import best_pool, spreads
from sbiwb.stopping import raise_on_signal
from sbiwb.training.ranks import ranks_from_environment
from sbiwb.workflow.train import TrainResult, train

PAIRS = 200  # of a split, at which posterior and likelihood are compared
DRAWS = {"validation": 200, "test": 1_000}  # at each, for the pool and for the spreads
STATISTIC = "entropy"  # of which the spreads are made: others are of another kind
MIN_DRAWS, MAX_DENSITIES = 200, 20_000_000  # draws at test pairs of many members: fewer
PAIRS_AT_ONCE = 20


@dataclass(frozen=True)
class LikelihoodTrained:
    """The likelihood of a structure is trained.

    Args:
        name: The structure.
        run: Its run folder.
        result: How the training ended.
    """

    name: str
    run: RunDir
    result: TrainResult


@dataclass(frozen=True)
class Agreement:
    """How the posterior and the likelihood of a run agree.

    Args:
        weights: Hash of the weights of all networks.
        share: Of the likelihood in the pooled posterior, as validation pairs have it.
        gain: Nats a pair that the pool is better than the posterior alone, at least.
        gain_error: Its standard error.
        spreads: Of the log evidence over draws, at test pairs.
        draws: Draws at each.
    """

    weights: str
    share: float
    gain: float
    gain_error: float
    spreads: tuple[float, ...]
    draws: int

    def lines(self) -> Iterator[str]:
        """What it means, in words."""
        median = float(np.median(self.spreads))
        yield (
            f"Posterior and likelihood: at test pairs the log evidence varies by {median:.2g} nats "
            "(median) over posterior draws; 0 would be Bayes' rule."
        )
        better = f"{self.gain:.2f} ± {self.gain_error:.2f} nats a pair"
        if self.share == 0:
            yield "The likelihood adds nothing to the posterior on validation pairs."
        else:
            yield (
                f"Together, with the share {self.share:.2f} of the likelihood, they beat "
                f"the posterior alone by {better}: `sbiwb sample --refine importance --likelihood "
                "learned`."
            )


TrainEvent = TrainResult | LikelihoodTrained | Agreement


def train_all(project: Project, reporter: Reporter, *, fresh: bool = False) -> Iterator[TrainEvent]:
    """Fits the posterior, the likelihoods that the YAML asks for, and measures how they agree.

    Args:
        project: Its pairs are simulated.
        reporter: Where progress goes.
        fresh: Whether to begin again.

    Yields:
        Each result as it is there.

    Raises:
        SbiwbError: As `train` raises.
    """
    posterior = train(project, reporter, fresh=fresh)
    yield posterior
    trained = False
    for likelihood in train_likelihoods(project, reporter, fresh=fresh):
        trained = True
        yield likelihood
    if trained and posterior.is_main_process:
        agreement = agreement_of(with_choices(project), reporter)
        if agreement is not None:
            yield agreement


def train_likelihoods(
    project: Project, reporter: Reporter, *, fresh: bool = False
) -> Iterator[LikelihoodTrained]:
    """Fits the likelihoods that the YAML asks for, each as `train` fits a posterior.

    Args:
        project: Its pairs are simulated.
        reporter: Where progress goes.
        fresh: Whether to begin again.

    Yields:
        Each as it is done.

    Raises:
        ConfigError: An observable has no structure, or two.
        SbiwbError: As `train` raises.
    """
    is_main = ranks_from_environment().rank == 0
    for likelihood in likelihood_projects(project):
        name = likelihood.run.name
        if is_main:
            reporter.say(f"Likelihood of {name}:")
        result = train(likelihood, reporter, fresh=fresh)
        yield LikelihoodTrained(name, likelihood.run, result)


def agreement_of(project: Project, reporter: Reporter) -> Agreement | None:
    """How the networks of a run agree, measured once for their weights; None without a likelihood,
    or where posterior or prior have no density.

    Args:
        project: A trained run.
        reporter: Where progress goes.
    """
    if not has_likelihood(project) or project.prior.joint:
        return None
    path = project.run.agreement
    hashes = _hashes(project)
    if path.is_file():
        try:
            known = read_typed(Agreement, path)
        except CorruptFile:
            known = None
        if known is not None and known.weights == hashes:
            return known
    posterior = posterior_of(project, Silent())
    if posterior.output_kind != OutputKind.JOINT:
        return None
    agreement = _measured(project, posterior, hashes, reporter)
    put_json(path, {**vars(agreement), "spreads": list(agreement.spreads)})
    return agreement


def _hashes(project: Project) -> str:
    runs = [project.run, *(folder_of(project.run, name) for name in wanted(project.config))]
    return " ".join([STATISTIC, *(weights_hash(run) for run in runs)])


def _measured(project: Project, posterior: Posterior, hashes: str, reporter: Reporter) -> Agreement:
    joint = JointModel(posterior, likelihood_of(project, Silent()))
    seed = project.config.diagnose.seed
    splits = {split: load_split(project, split, most=PAIRS) for split in ("validation", "test")}
    total = sum(map(len, splits.values()))
    counts = {**DRAWS, "test": _test_draws(joint, splits["test"])}
    with raise_on_signal(), reporter.task("compare with the likelihood", total, unit="pairs") as t:
        measured = {}
        for place, (split, pairs) in enumerate(splits.items()):
            parts = []
            for start in range(0, len(pairs), PAIRS_AT_ONCE):
                rows = np.arange(start, min(start + PAIRS_AT_ONCE, len(pairs)))
                rng = generator(seed, "consistency", place, start)
                parts.append(_at_truth_and_draws(joint, pairs.take(rows), counts[split], rng))
                t.advance(len(rows))
            measured[split] = np.concatenate(parts)
    c = measured["validation"]
    pool = best_pool(c[:, 0], c[:, 1:])
    usual = spreads(measured["test"][:, 1:])
    spread_over = counts["test"]
    return Agreement(hashes, pool.share, pool.gain, pool.error, tuple(usual.tolist()), spread_over)


def _test_draws(joint: JointModel, pairs: Pairs) -> int:
    """Draws at each test pair, fewer where a data set has many members."""
    first = joint.likelihood.prior.stack(pairs.take(np.arange(1)).theta)
    densities = joint.likelihood.log_probs(first, pairs.x, pairs.context, 0).values()
    members = sum(part.shape[1] for part in densities)
    affordable = MAX_DENSITIES // (len(pairs) * members)
    return max(MIN_DRAWS, min(DRAWS["test"], affordable))


def _at_truth_and_draws(
    joint: JointModel, pairs: Pairs, count: int, rng: np.random.Generator
) -> np.ndarray:
    """c of N pairs at the true theta and at draws, (N, 1 + S)."""
    truth = joint.likelihood.prior.stack(pairs.theta)[:, None]
    draws = joint.posterior.sample(pairs.variables, count, rng)
    return joint.log_evidence_at(np.concatenate([truth, draws], 1), pairs.x, pairs.context)
