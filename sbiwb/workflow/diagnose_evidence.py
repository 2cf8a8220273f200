"""The evidence of `diagnose`: what a trained run hands to the room that judges."""

from __future__ import annotations

from functools import partial

from sbiwb.contracts import Reporter
from sbiwb.posterior import Posterior
from sbiwb.project.fingerprint import weights_hash
from sbiwb.project.observe import DataSets
from sbiwb.project.plan import read_plan
from sbiwb.project.project import Project
from sbiwb.project.splits import load_split
from sbiwb.project.trained import posterior_of
from sbiwb.records import Pairs
from sbiwb.rundir import RunDir
from sbiwb.steps.judge.draw_blocks import DrawOptions
from sbiwb.steps.judge.gather import EvidenceCache
from sbiwb.steps.judge.judged_run import JudgedRun, TestQuantities
from sbiwb.steps.judge.measure import read_observations
from sbiwb.workflow.train import train


def evidence_of(project: Project, reporter: Reporter) -> EvidenceCache:
    """What the checks of a trained run judge, made when it is asked for.

    Raises:
        RunError: Nothing is trained yet, or test pairs are missing.
    """
    config = project.config
    run = JudgedRun(
        posterior=posterior_of(project, reporter),
        prior=project.prior,
        test=load_split(project, "test"),
        draw_options=draw_options(project),
        missing=tuple(config.problem.missing),
        training_pairs=config.simulate.train,
        quantities=_test_quantities(project),
        load_validation=partial(load_split, project, "validation"),
        load_training=partial(_load_training, project),
        load_observations=partial(observations_of, project, reporter),
        forward=lambda: project.forward,
        train_on=partial(_train_on, project, reporter),
    )
    return EvidenceCache(run, reporter)


def draw_options(project: Project) -> DrawOptions:
    """Which draws of the test pairs are made, and where they are kept."""
    options = project.config.diagnose
    weights = weights_hash(project.run)
    return DrawOptions(project.run.draws, options.draws, options.seed, weights, project.data_hash)


def _load_training(project: Project, most: int) -> Pairs:
    return load_split(project, "train", most=most)


def observations_of(project: Project, reporter: Reporter) -> list[DataSets]:
    """Every observation of the YAML that can be read."""
    layout = read_plan(project.data_run).layout
    shapes = {name: distribution.event for name, distribution in project.context.items()}
    return read_observations(project.observations, layout, shapes, reporter)


def _test_quantities(project: Project) -> TestQuantities | None:
    function = project.source.optional("test_quantities")
    if function is None:
        return None
    return TestQuantities(function, project.source.path)


def _train_on(project: Project, reporter: Reporter, count: int) -> Posterior:
    """The same network trained on fewer pairs.

    Its run folder is its own and resumes like any training.
    """
    part = _part(project, count)
    train(part, reporter)
    return posterior_of(part, reporter)


def _part(project: Project, count: int) -> Project:
    """The same project with fewer training pairs, read from the same shards."""
    config = project.config
    shards = str(project.data_run.path.resolve())
    simulate = config.simulate.model_copy(update={"train": count, "from_": shards})
    machine = config.machine.model_copy(update={"tracking": []})
    name = f"{count}-{project.model_hash[:12]}"  # of another model there may be an earlier budget
    changes = {"name": name, "simulate": simulate, "machine": machine}
    run = RunDir(project.run.diagnose / "budget" / name)
    return Project(config.model_copy(update=changes), run, project.base)
