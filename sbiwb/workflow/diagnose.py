"""The verb `diagnose`: draws for every test pair once, all checks on them, numbers and pictures."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sbiwb.contracts import Reporter
from sbiwb.diagnostics import family, judge, overall, to_json
from sbiwb.errors import CorruptFile, GateFailed
from sbiwb.evidence import Draws
from sbiwb.files import put, put_json
from sbiwb.posterior import CHUNK_ROWS, Posterior
from sbiwb.records import Pairs
from sbiwb.report import to_png
from sbiwb.rundir import put_provenance
from sbiwb.seeds import generator
from sbiwb.stopping import raised
from sbiwb.store import hdf5
from sbiwb.workflow.posterior import posterior_of
from sbiwb.workflow.project import Project
from sbiwb.workflow.train import weights_hash
from sbiwb.workflow.trainer import load_split

BLOCK = CHUNK_ROWS // 4


@dataclass(frozen=True)
class Diagnosis:
    """What the checks said."""

    verdict: str
    summary: str
    judgments: tuple[Any, ...]


def diagnose(project: Project, reporter: Reporter, *, gate: bool = False) -> Diagnosis:
    """Judges the trained posterior on the test pairs.

    Args:
        project: A trained run.
        reporter: Where progress goes.
        gate: Whether a failed check is an error.

    Raises:
        RunError: Nothing is trained yet.
        GateFailed: A check failed under `gate`.
    """
    start = time.perf_counter()
    with raised():
        draws = posterior_draws(project, reporter)
        results = []
        for check, config in _named(project.config.diagnose.checks):
            module = family.module(config.kind)
            result = module.compute(draws, config)
            results.append((check, config, result))
            for suffix, plot in _plots(module):
                put(project.run.diagnose / f"{check}{suffix}.png", to_png(plot(result)))
        judgments = judge(results)
    leaked = {name: float(share) for name, share in zip(draws.names, draws.leaked if draws.leaked is not None else [], strict=False)}
    numbers = {**to_json(judgments), "n": draws.n, "draws": draws.s, "prior_var_source": draws.prior_var_source, "leaked": leaked}
    put_json(project.run.numbers, numbers)
    facts = {"weights": weights_hash(project.run), "data_hash": project.data_hash, "seed": project.config.diagnose.seed}
    put_provenance(project.run.diagnose, seconds=time.perf_counter() - start, facts=facts)
    found = overall(judgments)
    if gate and found.verdict == "fail":
        raise GateFailed(
            found.summary, where=project.run.numbers, todo="Look at the pictures beside it; more simulations or steps often help."
        )
    return Diagnosis(found.verdict, found.summary, tuple(judgments))


def _plots(module: Any) -> list[tuple[str, Any]]:
    """`plot`, and further pictures by functions named `plot_ecdf` and the like."""
    return [(name.removeprefix("plot"), function) for name, function in vars(module).items() if name == "plot" or name.startswith("plot_")]


def _named(checks: list[Any]) -> list[tuple[str, Any]]:
    """Each check with a name of its own: its kind, numbered where it comes twice."""
    kinds = [Path(check.kind).stem for check in checks]
    names = [kind if kind not in kinds[:i] else f"{kind}_{kinds[:i].count(kind) + 1}" for i, kind in enumerate(kinds)]
    return list(zip(names, checks, strict=True))


def posterior_draws(project: Project, reporter: Reporter) -> Draws:
    """Draws for the test pairs: read where these weights made them before, else made now and saved."""
    torch.set_num_threads(1)  # chunks of draws are what shares the cores
    posterior = posterior_of(project, reporter)
    pairs = load_split(project, "test")
    made_by = {
        "weights": weights_hash(project.run),
        "draws": project.config.diagnose.draws,
        "seed": project.config.diagnose.seed,
        "data_hash": project.data_hash,
        "n": len(pairs),
    }
    path = project.run.draws
    arrays = _saved(path, made_by, reporter)
    if arrays is None:
        arrays = _draw(project, posterior, pairs, reporter)
        put(path, hdf5.image(arrays, made_by))
    return _draws(project, posterior, pairs, arrays)


def _saved(path: Path, made_by: dict[str, Any], reporter: Reporter) -> dict[str, np.ndarray] | None:
    """The draws on disk, unless others made them or they are damaged."""
    try:
        return hdf5.read(path.read_bytes(), path) if path.is_file() and _made_by(path) == made_by else None
    except CorruptFile as error:
        reporter.warn(f"{path} {error.what}; drawn again.")
        return None


def _made_by(path: Any) -> dict[str, Any]:
    return {name: value for name, value in hdf5.attributes(path.read_bytes(), path).items() if name != "format"}


def _draw(project: Project, posterior: Posterior, pairs: Pairs, reporter: Reporter) -> dict[str, np.ndarray]:
    """Draws (N, S, D) and log q at the truth (N,), block by block; each block has a seed of its own."""
    n, count, seed = len(pairs), project.config.diagnose.draws, project.config.diagnose.seed
    theta = project.prior.stack(pairs.theta)
    draws, log_prob = np.empty((n, count, theta.shape[1])), np.empty(n)
    with reporter.task("draw", n, unit="test pairs") as ticker:
        for block, start in enumerate(range(0, n, BLOCK)):
            rows = np.arange(start, min(start + BLOCK, n))
            x = pairs.take(rows).variables
            draws[rows] = posterior.sample(x, count, generator(seed, "draws", block))
            log_prob[rows] = posterior.log_prob(theta[rows], x)
            ticker.advance(len(rows))
    return {"draws": draws, "log_prob_theta": log_prob}


def _draws(project: Project, posterior: Posterior, pairs: Pairs, arrays: dict[str, np.ndarray]) -> Draws:
    prior, theta = project.prior, project.prior.stack(pairs.theta)
    variance, source = prior.variance(), "prior"
    unknown = ~np.isfinite(variance)
    if unknown.any():
        variance, source = np.where(unknown, theta.var(axis=0, ddof=1) if len(theta) > 1 else np.nan, variance), "test set"
    scalars = {name: np.asarray(column) for name, column in pairs.context.items() if isinstance(column, np.ndarray) and column.ndim == 1}
    return Draws(
        names=posterior.columns,
        theta=theta,
        draws=arrays["draws"],
        prior_var=variance,
        prior_var_source=source,
        log_prob_theta=arrays["log_prob_theta"],
        context=scalars,
        leaked=1 - prior.inside(arrays["draws"]).mean(axis=(0, 1)),
        seed=project.config.diagnose.seed,
    )
