"""`load_likelihood`: the learned likelihood of a trained run, as an object that is evaluated."""

from __future__ import annotations

from pathlib import Path

from sbiwb.config.structure import DataSetMembers
from sbiwb.contracts import Reporter
from sbiwb.errors import RunError
from sbiwb.project.fingerprint import weights_hash
from sbiwb.project.learned_likelihood import LearnedLikelihood, LikelihoodFactor
from sbiwb.project.likelihoods import folder_of, wanted
from sbiwb.project.opening import open_project
from sbiwb.project.project import Project
from sbiwb.project.trained import load
from sbiwb.rundir import RunDir


def load_likelihood(run: Path | str, device: str = "auto") -> LearnedLikelihood:
    """The learned likelihood of a trained run.

    Args:
        run: A run folder.
        device: `auto`, `cpu` or `cuda`.

    Raises:
        RunError: Nothing is trained there, or without a likelihood.
        CorruptFile: A checkpoint is cut or altered.

    Example:
        >>> likelihood = load_likelihood("runs/choice")               # doctest: +SKIP
        >>> likelihood.log_prob(theta, {"rt": rt, "choice": choice})  # doctest: +SKIP
    """
    folder = RunDir(Path(run))
    names = sorted(path.parent.name for path in folder.likelihood.glob("*/config.yaml"))
    if not names:
        raise _missing(folder.path)
    prior = open_project(folder.path).prior
    factors = {name: _factor(folder_of(folder, name), device) for name in names}
    return LearnedLikelihood(prior, factors)


def has_likelihood(project: Project) -> bool:
    """Whether the likelihoods that a project wants are trained."""
    names = wanted(project.config)
    return bool(names) and all(folder_of(project.run, name).best.is_file() for name in names)


def likelihood_of(project: Project, reporter: Reporter) -> LearnedLikelihood:
    """The learned likelihood of a project, of the data that it has now.

    Raises:
        RunError: It is not trained, or on another problem.
    """
    names = wanted(project.config)
    if not has_likelihood(project):
        raise _missing(project.run.path)
    factors = {}
    for name in names:
        run = folder_of(project.run, name)
        factors[name] = _factor(run, project.config.machine.device)
        if factors[name].members.data_hash != project.data_hash:
            raise RunError(
                "is trained on another problem",
                where=run.path,
                todo="Run `sbiwb train --fresh` on the config.",
            )
    return LearnedLikelihood(project.prior, factors)


def likelihood_weights(project: Project) -> dict[str, str]:
    """Hash of the weights of each likelihood that is trained, by structure."""
    runs = {name: folder_of(project.run, name) for name in wanted(project.config)}
    return {name: weights_hash(run) for name, run in runs.items() if run.best.is_file()}


def _factor(run: RunDir, device: str) -> LikelihoodFactor:
    density, facts = load(run.path, device)
    members = DataSetMembers.model_validate(facts.config["problem"]["simulator"])
    return LikelihoodFactor(members, density)


def _missing(folder: Path) -> RunError:
    """What to say where no likelihood is learned."""
    return RunError(
        "has no learned likelihood",
        where=folder,
        todo="Say what is independent, problem: {structure: {x: iid}}, and run `sbiwb train`.",
    )
